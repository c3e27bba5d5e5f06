"""The report of `recsys-dist evaluate`, read back for the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.report.run.record import Record
from recsys_dist.training.config import TrainConfig, result_settings


class Errors(Record):
    """Errors over `count` ratings; None over none. `seconds` where they were taken."""

    rmse: float | None
    mae: float | None
    count: int
    seconds: float | None = None


class Ranking(Record):
    """How well the lists of the `top` items hit what users liked, averaged over `users` users."""

    top: int
    relevant_from: float
    eligible_users: int
    users: int
    recall: float | None
    ndcg: float | None


class Calibration(Record):
    """The share of `count` ratings within the intervals of each coverage, and scores of the whole prediction."""

    coverage: dict[str, float | None]
    nll: float | None
    log_loss: float | None
    count: int


class EvaluatedModel(Record):
    """Which model it was: the checkpoint of `step` epochs of the run with these settings."""

    kind: str
    step: int
    config: dict[str, Any]


class EvaluatedDataset(Record):
    """Where the ratings are from."""

    url: str
    is_trained_on: bool


class Seconds(Record):
    """How long it took the model."""

    predict: float


class Evaluation(Record):
    """The whole of `report.json`."""

    rmse: float | None
    mae: float | None
    count: int
    seconds: Seconds
    split: str
    model: EvaluatedModel
    dataset: EvaluatedDataset
    baselines: dict[str, Errors]
    cold_users: Errors
    cold_items: Errors
    ranking: Ranking | None
    uncertainty: Calibration | None = None
    """None where the model does not know it, and in reports of versions that did not measure it."""

    @classmethod
    def read(cls, path: Path, config: TrainConfig) -> Evaluation:
        """Read the evaluation of the model that `config` trains.

        Raises `DataError` where the file is missing or something else, `ConfigError` where it is of another model.
        """
        try:
            evaluation = cls.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise DataError(f"cannot read the evaluation {path}: {error.strerror}") from None
        mine, theirs = map(result_settings, (config.model_dump(mode="json"), evaluation.model.config))
        for key in mine:
            if theirs.get(key) != mine[key]:
                raise ConfigError(
                    f"{path} evaluates another model than that of {config.run_dir}: "
                    f"{key} is {json.dumps(theirs.get(key))}, not {json.dumps(mine[key])}"
                )
        return evaluation

    def rows(self) -> list[tuple[str, Errors]]:
        """The rows of the table: baselines, the model, and parts of the model's ratings."""
        whole = Errors(rmse=self.rmse, mae=self.mae, count=self.count, seconds=self.seconds.predict)
        return [
            *((name.replace("_", " "), errors) for name, errors in self.baselines.items()),
            (self.model.kind, whole),
            ("cold users", self.cold_users),
            ("cold items", self.cold_items),
        ]
