"""What a run folder tells of its run: the settings, how it stands, the figures of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from recsys_dist.config import parse_settings
from recsys_dist.errors import DataError
from recsys_dist.report.record import Record
from recsys_dist.storage import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run_folder import CONFIG, METRICS, STATUS


class Status(Record):
    """status.json; `running` also stands there after a run was killed. `error`: why it failed."""

    state: Literal["running", "preempted", "finished", "failed"]
    outcome: Literal["finished", "converged", "early_stopped", "preempted"] | None
    error: str | None = None


class Epoch(Record):
    """One line of metrics.jsonl; None where there was no such figure."""

    epoch: int
    train_rmse: float | None
    valid_rmse: float | None
    ratings_per_s: float | None
    seconds: float | None


@dataclass(frozen=True)
class RunRecord:
    """One run; its epochs in order."""

    url: str
    config: TrainConfig
    status: Status
    epochs: Sequence[Epoch]

    @classmethod
    def read(cls, run_dir: str) -> RunRecord:
        """Read a run folder. Raises `DataError` where it is none or damaged, `ConfigError` for wrong settings."""
        folder = Folder(run_dir)
        if not folder.exists(CONFIG):
            raise DataError(f"{folder.url} holds no {CONFIG}; give the run_dir of a training run")
        status = Status.parse(folder.read_bytes(STATUS), f"{folder.url}/{STATUS}")
        lines = folder.read_bytes(METRICS).splitlines() if folder.exists(METRICS) else []
        source = f"{folder.url}/{METRICS}, line"
        epochs = [Epoch.parse(line, f"{source} {number}") for number, line in enumerate(lines, 1)]
        return cls(folder.url, _read_config(folder), status, epochs)

    @property
    def best(self) -> tuple[int, float] | None:
        """The first epoch with the lowest validation RMSE, and that; None without validation."""
        validated = [(epoch.valid_rmse, epoch.epoch) for epoch in self.epochs if epoch.valid_rmse is not None]
        return min(validated)[::-1] if validated else None


def _read_config(folder: Folder) -> TrainConfig:
    source = f"{folder.url}/{CONFIG}"
    try:
        tree: Any = yaml.safe_load(folder.read_bytes(CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    return parse_settings(TrainConfig, tree, source)
