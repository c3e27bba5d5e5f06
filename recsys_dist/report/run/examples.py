"""Examples of lists: what a few users have rated highest, and what the model recommends to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_dist.api.model import Model, load_model
from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError
from recsys_dist.inference.lists import Recommendations
from recsys_dist.training.config import TrainConfig

QUANTILES = (0.5, 0.9, 0.25)
"""Of the users with train ratings by their number: a typical, an active and a new one."""
MOST_RATED, LIST_LENGTH = 5, 10


@dataclass(frozen=True)
class ExampleList:
    """One user."""

    user_id: str
    num_ratings: int
    highest: Sequence[tuple[str, float]]
    """Names and values of the highest train ratings."""
    recommended: Recommendations

    @property
    def names(self) -> list[tuple[str, float]]:
        """Name and score of each recommended item."""
        return [(row.title or row.item_id, row.score) for row in self.recommended.rows()]


def example_lists(model_dir: str, config: TrainConfig) -> list[ExampleList]:
    """Lists of a few users by the merged model at `model_dir`, which `config` trained.

    Raises `CheckpointError` if it is no model, `ConfigError` if it is the model of another run.
    """
    model = load_model(model_dir)
    trained = parse_settings(TrainConfig, model.manifest.config, source=f"{model_dir}: the configuration")
    if trained.result_settings() != config.result_settings():
        raise ConfigError(f"{model_dir} is not merged from {config.run_dir}: its settings differ")
    num_train_U = model.catalog.folder.num_train("users")
    rated = np.flatnonzero(num_train_U)
    by_activity = rated[np.argsort(num_train_U[rated], kind="stable")]
    places = dict.fromkeys(int(quantile * (len(rated) - 1)) for quantile in QUANTILES) if len(rated) else {}
    return [_example(model, int(by_activity[place])) for place in places]


def _example(model: Model, user: int) -> ExampleList:
    item_N, rating_N = model.catalog.train_ratings.of_user(user)
    best = np.argsort(-rating_N, kind="stable")[:MOST_RATED]
    ids, titles = model.catalog.describe(item_N[best])
    names = [title or item_id for item_id, title in zip(ids, titles, strict=True)]
    user_id = model.user_ids[user]
    (recommended,) = model.recommend([user_id], LIST_LENGTH)
    highest = list(zip(names, rating_N[best].tolist(), strict=True))
    return ExampleList(user_id, len(item_N), highest, recommended)
