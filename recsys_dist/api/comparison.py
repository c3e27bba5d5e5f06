"""Compare several models in Python."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_dist.api.model import Model, load_model
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.evaluation.comparison import ComparisonReport, compare
from recsys_dist.evaluation.settings import RANKING_USERS, TOP, EvaluationSettings, as_tops


def compare_models(
    models: Sequence[Model | str],
    dataset: Dataset | str,
    split: str = "test",
    relevant_from: float | None = None,
    ranking_users: int = RANKING_USERS,
    top: int | Sequence[int] = TOP,
    allow_other_split: bool = False,
) -> ComparisonReport:
    """Evaluate models, or model folders, on the same held-out ratings, and compare each with the first.

    The arguments are those of `Model.evaluate`. The result holds the report of each model, and paired differences
    to the first with intervals of 95 %. Raises `ConfigError` if the models were trained on different datasets, and
    whatever `Model.evaluate` raises.
    """
    settings = EvaluationSettings(
        split, relevant_from, ranking_users, as_tops(top), allow_other_split=allow_other_split
    )
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    loaded = [model if isinstance(model, Model) else load_model(model) for model in models]
    return compare([model.predictor for model in loaded], opened, settings)[0]
