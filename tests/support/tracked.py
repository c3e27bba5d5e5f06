"""Short trainings of a fake trainer, tracked, for tests of trackers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.training import run
from recsys_dist.training.loop import Outcome
from tests.support.fake_trainer import FakeTrainer, fake_config, train_by
from tests.support.states import single_collectives

VALID_RMSE = (0.9, 0.8, 0.7, 0.75, 0.6, 0.65)


def train_tracked(
    patch: pytest.MonkeyPatch,
    run_dir: Path | str,
    dataset: Path,
    epochs: int,
    trackers: Sequence[str],
    is_stopped: bool = False,
    **changes: Any,
) -> Outcome:
    """Train until `epochs` epochs are done, or are stopped; `changes` are attributes of the trainer."""
    train_by(patch, lambda collectives: FakeTrainer(collectives, VALID_RMSE))
    for name, value in changes.items():
        patch.setattr(FakeTrainer, name, value)
    config = fake_config(run_dir, dataset, training={"epochs": epochs, "trackers": list(trackers)})
    return run.run_training(config, single_collectives(), lambda: is_stopped)


def forget_epochs(run_dir: Path, after: int) -> None:
    """What a kill leaves: no checkpoint of the epochs after `after`, whose figures were shown."""
    for path in (run_dir / "checkpoints").iterdir():
        if int(path.name.split("-")[1]) > after:
            shutil.rmtree(path)
