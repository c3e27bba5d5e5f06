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


class Ranking(StrictModel):
    """Recall and nDCG of lists of `top` items, averaged over `users` of `eligible_users`."""

    top: int
    relevant_from: float
    eligible_users: int
    users: int
    recall: Figure
    ndcg: Figure
    seconds: float


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
    """The whole report; its own errors are the errors of the model over all ratings of the split."""

    split: str
    baselines: dict[str, TimedErrors]
    """`global_mean` and `user_item_bias`, fitted on the same train ratings."""
    cold_users: Errors
    """Over ratings of users without a train rating."""
    cold_items: Errors
    trained_on: Errors
    """Over pairs with a train rating, which count in no other figure; the dataset of training has none."""
    ranking: Ranking | None
    """None if it was not requested, and on train ratings."""
    uncertainty: Calibration | None
    """None if the model has no uncertainty."""
    model: EvaluatedModel
    dataset: EvaluatedDataset
    allowed: Allowed
    seconds: Seconds

    @classmethod
    def read(cls, path: Path) -> EvaluationReport:
        """Read a `report.json`. Raises `DataError` if it is missing or not a report."""
        try:
            tree = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(f"cannot read the evaluation {path}: {error.strerror}") from None
        except ValueError:
            raise DataError(f"{path} is not JSON; write it with evaluate --output") from None
        return validated(cls, tree, lambda problem: DataError(f"{path}: {problem}"))

    def __repr__(self) -> str:
        head = f"{self.model.kind} on {self.count:,} {self.split} ratings"
        rows = [["RMSE", "MAE", ""], *([_shown(one.rmse), _shown(one.mae), name] for name, one in self._rows())]
        return f"{head}\n{text_table(rows, numbers=2)}"

    __str__ = __repr__

    def to_arrow(self) -> pa.Table:
        """One row for each baseline, the model, and its cold users and items: name, rmse, mae, count."""
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
        write_whole(path, json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.4f}"
