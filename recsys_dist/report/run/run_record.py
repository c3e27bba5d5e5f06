"""The record of a run in its folder: settings, status, figures of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from recsys_dist.checkpoint.best import best_of
from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, best_checkpoint, committed_names
from recsys_dist.checkpoint.manifest import CheckpointName
from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.report.run.record import Record
from recsys_dist.storage.folder import Folder
from recsys_dist.storage.holdings import Holding, instead_of
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.plan import Plan
from recsys_dist.training.run_folder import CONFIG, METRICS, PLAN, STATUS


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
    peak_memory_mb: float | None = None
    received_mb: float | None = None


@dataclass(frozen=True)
class RunRecord:
    """One run; its epochs in order."""

    url: str
    config: TrainConfig
    status: Status
    epochs: Sequence[Epoch]
    plan: Plan | None
    """What was planned before the start; None: nothing."""
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
    def read(cls, run_dir: str, plan_file: Path | None = None) -> RunRecord:
        """Read a run folder; `plan_file`: what `plan` wrote, instead of the plan in the folder.

        Raises `DataError` if it is none or damaged, `ConfigError` for wrong settings or a plan of another model.
        """
        folder = Folder(run_dir)
        if not folder.exists(CONFIG):
            raise DataError(instead_of(folder.url, Holding.RUN))
        status = Status.parse(folder.read_bytes(STATUS), f"{folder.url}/{STATUS}")
        lines = folder.read_bytes(METRICS).splitlines() if folder.exists(METRICS) else []
        source = f"{folder.url}/{METRICS}, line"
        epochs = [Epoch.parse(line, f"{source} {number}") for number, line in enumerate(lines, 1)]
        config = _read_config(folder)
        plan = _plan_in(folder) if plan_file is None else _given_plan(plan_file, config)
        return cls(folder.url, config, status, epochs, plan, _best(folder, epochs))


def _best(folder: Folder, epochs: Sequence[Epoch]) -> tuple[int, float] | None:
    """From the checkpoints, which not every epoch has; from the epochs if a copy of the run has no checkpoints."""
    if committed_names(folder.child(CHECKPOINTS)):
        best = best_checkpoint(folder)
    else:
        best = best_of(
            {CheckpointName(epoch.epoch): None if epoch.searching else epoch.valid_rmse for epoch in epochs}
        )
    return None if best is None else (best[0].step, best[1])


def _plan_in(folder: Folder) -> Plan | None:
    return Plan.parse(folder.read_bytes(PLAN), f"{folder.url}/{PLAN}") if folder.exists(PLAN) else None


def _given_plan(file: Path, config: TrainConfig) -> Plan:
    if not file.is_file():
        raise DataError(f"{file} is not a file; give what `recsys-dist plan --output` wrote")
    plan = Plan.parse(file.read_bytes(), str(file))
    if plan.kind != config.model.kind:
        raise ConfigError(
            f"{file} plans a model of kind {plan.kind}, but {config.run_dir} trains {config.model.kind}"
        )
    return plan


def _read_config(folder: Folder) -> TrainConfig:
    source = f"{folder.url}/{CONFIG}"
    try:
        tree: Any = yaml.safe_load(folder.read_bytes(CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    return parse_settings(TrainConfig, tree, source)
