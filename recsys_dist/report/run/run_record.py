"""The record of a run in its folder: settings, status, figures of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from recsys_dist.checkpoint.best import best_of
from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, best_checkpoint, committed_names
from recsys_dist.checkpoint.manifest import CheckpointName
from recsys_dist.config import parse_settings
from recsys_dist.errors import DataError
from recsys_dist.report.run.record import Record
from recsys_dist.storage.folder import Folder
from recsys_dist.storage.holdings import Holding, instead_of
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run_folder import CONFIG, METRICS, STATUS


class Status(Record):
    """status.json; the state is `running` also after a run was killed. `error`: why it failed."""

    state: Literal["running", "preempted", "finished", "failed"]
    outcome: Literal["finished", "converged", "early_stopped", "preempted"] | None
    error: str | None = None


class Trial(Record):
    """Settings that the search tried; see `recsys_dist.protocols.trainer.Trial`."""

    settings: str
    figure: str
    value: float | None
    limit: float | None
    is_kept: bool


class Epoch(Record):
    """One line of metrics.jsonl; None for figures not measured. `searching`: not a candidate for the best."""

    epoch: int
    train_rmse: float | None
    valid_rmse: float | None
    ratings_per_s: float | None
    seconds: float | None
    searching: bool = False
    note: str | None = None
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """One run; its epochs in order."""

    url: str
    config: TrainConfig
    status: Status
    epochs: Sequence[Epoch]
    best: tuple[int, float] | None
    """The epoch that `merge` takes and its validation RMSE; None if no checkpoint has one."""

    @property
    def is_validated(self) -> bool:
        """Whether there are validation errors to show."""
        return any(epoch.valid_rmse is not None for epoch in self.epochs)

    @property
    def seconds(self) -> float:
        """Seconds of all epochs, without validation."""
        return sum(epoch.seconds or 0.0 for epoch in self.epochs)

    @property
    def trials(self) -> list[Trial]:
        """What the search tried, in its order."""
        return [trial for epoch in self.epochs for trial in epoch.trials]

    @property
    def num_candidates(self) -> int:
        """Epochs of which `merge` takes the best: those with a validation error, outside the search."""
        return sum(epoch.valid_rmse is not None and not epoch.searching for epoch in self.epochs)

    @classmethod
    def read(cls, run_dir: str) -> RunRecord:
        """Read a run folder. Raises `DataError` if it is none or damaged, `ConfigError` for wrong settings."""
        folder = Folder(run_dir)
        if not folder.exists(CONFIG):
            raise DataError(instead_of(folder.url, Holding.RUN))
        status = Status.parse(folder.read_bytes(STATUS), f"{folder.url}/{STATUS}")
        lines = folder.read_bytes(METRICS).splitlines() if folder.exists(METRICS) else []
        source = f"{folder.url}/{METRICS}, line"
        epochs = [Epoch.parse(line, f"{source} {number}") for number, line in enumerate(lines, 1)]
        return cls(folder.url, _read_config(folder), status, epochs, _best(folder, epochs))


def _best(folder: Folder, epochs: Sequence[Epoch]) -> tuple[int, float] | None:
    """From the checkpoints, which not every epoch has; from the epochs if a copy of the run has no checkpoints."""
    if committed_names(folder.child(CHECKPOINTS)):
        best = best_checkpoint(folder)
    else:
        best = best_of(
            {CheckpointName(epoch.epoch): None if epoch.searching else epoch.valid_rmse for epoch in epochs}
        )
    return None if best is None else (best[0].step, best[1])


def _read_config(folder: Folder) -> TrainConfig:
    source = f"{folder.url}/{CONFIG}"
    try:
        tree: Any = yaml.safe_load(folder.read_bytes(CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    return parse_settings(TrainConfig, tree, source)
