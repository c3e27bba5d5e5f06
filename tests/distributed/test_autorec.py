"""AutoRec on ranks: one model whatever their number, also with a rank that has no rows; resume on others."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.data.dataset import SIDES, Dataset, share_shards
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.training.autorec_trainer import AutorecTrainer
from recsys_dist.training.config import AutorecSettings
from tests.prepared import small_dataset
from tests.ranks import run_ranks

EPOCHS = 8


class SavedState:
    """A StateReader over the states that all ranks handed over."""

    def __init__(self, states: list[TrainerState]) -> None:
        self.values = states[0].values
        self._states = states

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        parts = [state.tables[table] for state in self._states]
        edges = [(part.start, part.stop) for part in parts]
        assert edges[0][0] == 0
        assert edges[-1][1] == parts[0].num_rows
        assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))
        return {
            name: torch.cat([part.tensors[name] for part in parts])[start:stop].clone()
            for name in parts[0].tensors
        }


def trainer_of(collectives: Collectives, path: Path, orientation: str = "items") -> AutorecTrainer:
    settings = AutorecSettings(
        kind="autorec", orientation=orientation, hidden=8, batch_size=16, regularization=5.0, learning_rate=0.02
    )
    return AutorecTrainer(Dataset.open(str(path)), settings, EPOCHS, 5, collectives)


def copied(state: TrainerState) -> TrainerState:
    tables = {
        name: TableRows(rows.start, rows.num_rows, {key: t.clone() for key, t in rows.tensors.items()})
        for name, rows in state.tables.items()
    }
    return TrainerState(tables, state.values)


@dataclass(frozen=True)
class Run:
    """What one rank has to tell of a whole training and of one that is stopped in the middle."""

    errors: dict[str, list[float]]
    gradients: dict[str, torch.Tensor]
    stopped: TrainerState
    unbroken: TrainerState
    valid_rmse: float


def whole_run(collectives: Collectives, path: Path) -> Run:
    items, errors = trainer_of(collectives, path), {}
    for orientation, trainer in (("items", items), ("users", trainer_of(collectives, path, "users"))):
        errors[orientation] = [trainer.train_epoch(lambda: False).train.rmse for _ in range(EPOCHS)]
        errors[orientation].append(trainer.validate().rmse)
    return Run(
        errors,
        first_gradients(collectives, path),
        stop_in_the_middle(collectives, path),
        copied(items.state()),
        errors["items"][-1],
    )


def first_gradients(collectives: Collectives, path: Path) -> dict[str, torch.Tensor]:
    """What the first step hands to the optimizer, from a decoder that is not zero."""
    trainer = trainer_of(collectives, path)
    with torch.no_grad():
        trainer._model.decoder.normal_(generator=torch.Generator().manual_seed(1))
    trainer._train_step()
    return {name: parameter.grad.clone() for name, parameter in trainer._model.named_parameters()}


def stop_in_the_middle(collectives: Collectives, path: Path) -> TrainerState:
    trainer = trainer_of(collectives, path)
    for _ in range(3):
        trainer.train_epoch(lambda: False)
    asked = iter([False, False, True])
    assert not trainer.train_epoch(lambda: next(asked)).finished
    return copied(trainer.state())


def go_on(collectives: Collectives, path: Path, states: list[TrainerState]) -> tuple[TrainerState, float, int]:
    trainer = trainer_of(collectives, path)
    trainer.load_state(SavedState(states))
    result = trainer.train_epoch(lambda: False)
    while trainer.epochs_done < EPOCHS:
        trainer.train_epoch(lambda: False)
    return copied(trainer.state()), trainer.validate().rmse, result.train.count


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards, so that of four ranks one has no rows."""
    path = tmp_path_factory.mktemp("autorec") / "data"
    dataset = small_dataset(path, num_shards=3)
    for side in SIDES:
        assert any(len(share) == 0 for share in share_shards(dataset.shards(side), 4))
    return path


@pytest.fixture(scope="module")
def runs(path: Path) -> dict[int, list[Run]]:
    """By world size, each rank's account."""
    alone = whole_run(Collectives(World.single("cpu")), path)
    return {1: [alone], **{size: run_ranks(whole_run, size, path.parent, path) for size in (2, 4)}}


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("orientation", ["items", "users"])
def test_any_number_of_ranks_reaches_the_same_errors(
    runs: dict[int, list[Run]], orientation: str, world_size: int
) -> None:
    for run in runs[world_size]:
        assert run.errors[orientation] == pytest.approx(runs[1][0].errors[orientation], abs=1e-5)


@pytest.mark.parametrize("world_size", [2, 4])
def test_gradients_equal_those_of_one_process(runs: dict[int, list[Run]], world_size: int) -> None:
    for run in runs[world_size]:
        for name, want in runs[1][0].gradients.items():
            largest = want.abs().max().item()
            assert largest > 0
            torch.testing.assert_close(run.gradients[name], want, rtol=1e-6, atol=1e-6 * largest)


def test_resumed_equals_unbroken_bit_for_bit(runs: dict[int, list[Run]], path: Path) -> None:
    states = [run.stopped for run in runs[2]]
    for run, (got, rmse, _) in zip(runs[2], run_ranks(go_on, 2, path.parent, path, states), strict=True):
        assert rmse == run.valid_rmse
        assert got.values == run.unbroken.values
        for name, rows in run.unbroken.tables.items():
            for key, tensor in rows.tensors.items():
                assert torch.equal(tensor, got.tables[name].tensors[key]), f"{name}.{key}"


def test_three_ranks_go_on_where_four_stopped(runs: dict[int, list[Run]], path: Path) -> None:
    num_ratings = Dataset.open(str(path)).manifest.num_ratings["train"]
    for _, rmse, count in run_ranks(go_on, 3, path.parent, path, [run.stopped for run in runs[4]]):
        assert rmse == pytest.approx(runs[1][0].valid_rmse, abs=1e-5)
        assert count == num_ratings
