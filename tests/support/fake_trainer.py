"""A trainer whose whole state follows from the steps it took: any step lost, repeated or misread shows in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.autorec.family import AutoRec
from recsys_dist.families.mf.family import MatrixFactorization
from recsys_dist.metrics import ErrorSums
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.trainer import EpochResult, Trainer
from recsys_dist.training.config import TrainConfig

NUM_ROWS = 7
STEPS = 3


class FakeTrainer:
    """One table of 7 rows, three steps an epoch; `valid_rmse` lists what validation finds after each epoch."""

    def __init__(self, collectives: Collectives, valid_rmse: tuple[float, ...] = ()) -> None:
        world = collectives.world
        self.epochs_done, self.steps_done, self.trained = 0, 0, 0
        self._valid_rmse = valid_rmse
        self._start, self._stop = NUM_ROWS * world.rank // world.size, NUM_ROWS * (world.rank + 1) // world.size
        self.rows = torch.arange(self._start, self._stop, dtype=torch.float64, device=world.device)

    has_converged = False

    @property
    def is_searching(self) -> bool:
        return False

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        while self.steps_done < STEPS:
            if should_stop():
                return EpochResult(ErrorSums(), 0, {}, finished=False)
            self.steps_done += 1
            self.rows = self.rows * 0.9 + torch.sin(self.rows + self.steps_done)
        self.steps_done = 0
        self.epochs_done += 1
        self.trained += 1
        return EpochResult(ErrorSums(4.0 / self.epochs_done**2, 1.0, 4), 4, {"noise": 0.5})

    def validate(self) -> ErrorSums:
        if not self._valid_rmse:
            return ErrorSums()
        return ErrorSums(self._valid_rmse[self.epochs_done - 1] ** 2, 1.0, 1)

    def state(self) -> TrainerState:
        tables = {"rows": TableRows(self._start, NUM_ROWS, {"x": self.rows})}
        return TrainerState(tables, {"epochs_done": self.epochs_done, "steps_done": self.steps_done})

    def load_state(self, reader: StateReader) -> None:
        values: Any = reader.values
        self.epochs_done, self.steps_done = values["epochs_done"], values["steps_done"]
        self.rows = reader.read_rows("rows", self._start, self._stop)["x"]


class SearchingTrainer(FakeTrainer):
    """Tries something out in its first two epochs."""

    @property
    def is_searching(self) -> bool:
        return self.epochs_done <= 2


def train_by(patch: pytest.MonkeyPatch, make: Callable[[Collectives], Trainer]) -> None:
    """Every family trains by what `make` returns, until the patch ends."""

    def trainer(_family: object, setup: TrainingSetup[Any]) -> Trainer:
        return make(setup.collectives)

    for family in (MatrixFactorization, AutoRec):
        patch.setattr(family, "trainer", trainer)


def fake_config(run_dir: object, dataset: object = "unused", **sections: object) -> TrainConfig:
    tree = {"dataset": str(dataset), "run_dir": str(run_dir), "device": "cpu", "model": {"kind": "mf"}}
    tree["checkpoint"] = {"every": 1}
    return TrainConfig.model_validate({**tree, **sections})


def unbroken_rows(epochs: int) -> torch.Tensor:
    """The whole table after so many epochs, by the formula alone."""
    rows = torch.arange(NUM_ROWS, dtype=torch.float64)
    for _ in range(epochs):
        for step in range(1, STEPS + 1):
            rows = rows * 0.9 + torch.sin(rows + step)
    return rows
