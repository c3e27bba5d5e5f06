"""The report of an evaluation, the content of `report.json`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BeforeValidator, JsonValue

from recsys_dist.errors import DataError
from recsys_dist.inference.frames import as_pandas
from recsys_dist.inference.lists import write_whole
from recsys_dist.metrics import ErrorSums
from recsys_dist.plain_text import text_table
from recsys_dist.strict_model import StrictModel, validated


def _none_for_nan(value: Any) -> Any:
    """The error over no ratings is null: JSON has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


Figure = Annotated[float | None, BeforeValidator(_none_for_nan)]
"""None over no ratings."""


class Errors(StrictModel):
    """Errors over `count` ratings, predictions clipped to the range of ratings."""

    rmse: Figure
    mae: Figure
    count: int

    @classmethod
    def of(cls, sums: ErrorSums) -> Errors:
        """From sums over ratings."""
        return cls(rmse=sums.rmse, mae=sums.mae, count=sums.count)


class TimedErrors(Errors):
    """Errors, and the seconds it took to fit and predict."""

    seconds: float


class Calibration(StrictModel):
    """Calibration of a model on `count` ratings, see calibration.py."""

    coverage: dict[str, Figure]
    """The share of ratings within the central intervals of each coverage, as "0.9"."""
    nll: Figure
    log_loss: float | None
    count: int


class CatalogueFigures(StrictModel):
    """Which items fill the lists, see `CatalogueMetrics`."""

    coverage: Figure
    novelty: Figure
    gini: Figure
    mean_popularity: Figure


class ListFigures(StrictModel):
    """Means over users of the metrics of their lists, cut at `top`; see docs/metrics.md."""

    top: int
    recall: Figure
    truncated_recall: Figure
    precision: Figure
    hit_rate: Figure
    mrr: Figure
    map: Figure
    ndcg: Figure


class CutFigures(ListFigures, CatalogueFigures):
    """The figures of all lists, cut at `top`."""


class Ranking(StrictModel):
    """Lists of all items unseen in training, for `users` of `eligible_users`."""

    relevant_from: float | None
    """None: all held-out interactions are relevant."""
    eligible_users: int
    users: int
    cuts: tuple[CutFigures, ...]
    """The model at each cut, ascending."""
    baselines: dict[str, tuple[CutFigures, ...]]
    """`popularity`: the unseen items with the most train ratings, for the same users."""
    seconds: float

    def at(self, top: int) -> CutFigures:
        """The figures of the model at one cut. Raises `KeyError` if it was not evaluated."""
        for one in self.cuts:
            if one.top == top:
                return one
        raise KeyError(top)

    def rows(self, name: str) -> list[list[str]]:
        """A short table with its head: the baselines, then the model `name`, each at every cut."""
        named = [*self.baselines.items(), (name, self.cuts)]
        cells = [
            [f"{one.top}", _shown(one.recall), _shown(one.ndcg), _shown(one.coverage), whose]
            for whose, cuts in named
            for one in cuts
        ]
        return [["top", "recall", "nDCG", "coverage", ""], *cells]


class RatingSegment(StrictModel):
    """The held-out ratings from `low` to `high`, both included."""

    low: float
    high: float
    errors: Errors


class UserSegment(StrictModel):
    """Users with `low` to `high` ratings that the model knows, both included."""

    low: int
    high: int
    errors: Errors
    ranked_users: int
    cuts: tuple[ListFigures, ...]
    """Means over the ranked users; empty without a ranking."""


class ItemCut(StrictModel):
    """Items of a segment in lists of `top` items."""

    top: int
    recall: Figure
    """Share of the segment's relevant pairs of a user and an item that are in the user's list."""
    listed: Figure
    """Share of the places of all lists that the segment fills."""


class ItemSegment(StrictModel):
    """Items with `low` to `high` train ratings, both included."""

    low: int
    high: int
    num_items: int
    errors: Errors
    relevant: int
    """Relevant pairs of a ranked user and an item of the segment."""
    cuts: tuple[ItemCut, ...]


class SegmentFigures(StrictModel):
    """The same evaluation by the activity of users, the popularity of items and the value of ratings."""

    users: tuple[UserSegment, ...]
    items: tuple[ItemSegment, ...]
    ratings: tuple[RatingSegment, ...]
    """Empty for a model that predicts no ratings."""


class FoldInFigures(StrictModel):
    """Whole users were held out: `ratings` of `users` were folded in, the other ratings of these users judge."""

    share: float
    users: int
    ratings: int


class EvaluatedModel(StrictModel):
    """The evaluated model: the checkpoint after `step` epochs of a run with this configuration."""

    url: str
    kind: str
    step: int
    digest: str
    config: dict[str, JsonValue]


class EvaluatedDataset(StrictModel):
    """The dataset of the held-out ratings."""

    url: str
    digest: str
    split_fingerprint: str
    is_trained_on: bool
    is_same_split: bool


class Seconds(StrictModel):
    """Seconds that the model took."""

    predict: float
    uncertainty: float
    load: float
    total: float


class Allowed(StrictModel):
    """What is refused unless it is explicitly allowed."""

    train: bool
    """The train split."""
    other_split: bool
    """A dataset with another split than the dataset of training."""


class EvaluationReport(Errors):
    """The whole report; its own errors are the errors of the model over all ratings of the split.

    All errors are None for a model that ranks items and predicts no ratings.
    """

    split: str
    predicts_ratings: bool
    baselines: dict[str, TimedErrors]
    """`global_mean` and `user_item_bias`, fitted on the same train ratings; empty if the model predicts none."""
    cold_users: Errors
    """Over ratings of users of whom the model knows no rating."""
    cold_items: Errors
    trained_on: Errors
    """Over pairs with a train rating, which count in no other figure; the dataset of training has none."""
    ranking: Ranking | None
    """None if it was not requested, and on train ratings."""
    segments: SegmentFigures
    fold_in: FoldInFigures | None
    """None unless the split holds out whole users."""
    uncertainty: Calibration | None
    """None if the model has no uncertainty."""
    model: EvaluatedModel
    dataset: EvaluatedDataset
    allowed: Allowed
    seconds: Seconds

    @classmethod
    def read(cls, path: Path) -> EvaluationReport:
        """Read a `report.json`. Raises `DataError` if it is missing or not a report."""
        tree = read_json(path)
        if is_comparison(tree):
            raise DataError(f"{path} compares several models; evaluate one alone")
        return validated(cls, tree, lambda problem: DataError(f"{path}: {problem}; write it again"))

    def __repr__(self) -> str:
        head = f"{self.model.kind} on {self.count:,} {self.split} ratings"
        rows = [["RMSE", "MAE", ""], *([_shown(one.rmse), _shown(one.mae), name] for name, one in self._rows())]
        tables = [text_table(rows, numbers=2)]
        if self.ranking is not None:
            tables.append(text_table(self.ranking.rows(self.model.kind), numbers=4))
        return "\n".join([head, *tables])

    __str__ = __repr__

    def to_arrow(self) -> pa.Table:
        """One row for each baseline, the model, and its cold users and items: name, rmse, mae, count.

        The errors of a model that predicts no ratings are null.
        """
        names, errors = zip(*self._rows(), strict=True)
        return pa.table(
            {
                "name": pa.array(names, pa.string()),
                "rmse": pa.array([one.rmse for one in errors], pa.float64()),
                "mae": pa.array([one.mae for one in errors], pa.float64()),
                "count": pa.array([one.count for one in errors], pa.int64()),
            }
        )

    def to_pandas(self) -> Any:
        """The table of `to_arrow` as a DataFrame."""
        return as_pandas(self.to_arrow())

    def _rows(self) -> list[tuple[str, Errors]]:
        parts = [("cold_users", self.cold_users), ("cold_items", self.cold_items)]
        return [*self.baselines.items(), (self.model.kind, self), *parts]

    def write(self, path: Path) -> None:
        """Write the report as JSON to a local file."""
        write_report(self, path)


def read_json(path: Path) -> Any:
    """The content of a file that `evaluate` wrote. Raises `DataError` if it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the evaluation {path}: {error.strerror}") from None
    except ValueError:
        raise DataError(f"{path} is not JSON; write it with evaluate --output") from None


def is_comparison(tree: Any) -> bool:
    """Whether the content of a report is about several models."""
    return isinstance(tree, dict) and "comparisons" in tree


def write_report(report: StrictModel, path: Path) -> None:
    """Write a report as JSON to a local file."""
    write_whole(path, json.dumps(report.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.4f}"
