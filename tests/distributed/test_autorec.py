"""AutoRec on ranks: one model whatever their number, also with a rank that has no rows; resume on others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES
from recsys_dist.dataset.sharding import share_shards
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import TrainingError
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.trainer import AutorecTrainer
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.support.ranks import run_ranks
from tests.support.states import saved

EPOCHS = 8
RESUMED = ("items", "sharded", "lbfgs", "sharded tied", "sharded rowwise")
VARIANTS: dict[str, dict[str, object]] = {
    "items": {},
    "users": {"orientation": "users"},
    "dropout": {"input_dropout": 0.5, "hidden_dropout": 0.2},
    "full batch": {"optimizer": "rprop", "gradient_clip": 0.5},
    "lbfgs": {"optimizer": "lbfgs"},
    "rowwise": {"optimizer": "rowwise_rmsprop"},
    "accumulated": {"batch_ratings": 230, "accumulation": 2},
    "deep": {"hidden": [8, 5, 6], "hidden_activation": "tanh"},
    "tied": {"hidden": [8, 5, 8], "hidden_activation": "tanh", "tied": True},
    "sharded": {"parallel": "sharded"},
    "sharded deep": {"hidden": [8, 5, 6], "hidden_activation": "tanh", "parallel": "sharded"},
    "sharded tied": {"hidden": [8, 5, 8], "hidden_activation": "tanh", "tied": True, "parallel": "sharded"},
    "sharded users": {"orientation": "users", "parallel": "sharded"},
    "sharded dropout": {"input_dropout": 0.5, "hidden_dropout": 0.2, "parallel": "sharded"},
    "sharded rowwise": {"optimizer": "rowwise_rmsprop", "gradient_clip": 0.5, "parallel": "sharded"},
    "sharded full batch": {"optimizer": "rprop", "gradient_clip": 0.5, "parallel": "sharded"},
}


def settings_of(variant: str, **more: Any) -> AutorecSettings:
    chosen = {"hidden": 8, "batch_ratings": 460, "regularization": 5.0, "learning_rate": 0.02, "parallel": "ddp"}
    chosen |= {"input_dropout": 0.0, "implicit_input": 0.0}
    return AutorecSettings.model_validate({"kind": "autorec", **chosen, **VARIANTS[variant], **more})


def trainer_of(collectives: Collectives, path: Path, variant: str = "items", **more: Any) -> AutorecTrainer:
    return AutorecTrainer(Dataset.open(str(path)), settings_of(variant, **more), EPOCHS, 5, collectives)


def copied(state: TrainerState) -> TrainerState:
    tables = {
        name: TableRows(rows.start, rows.num_rows, {key: t.clone() for key, t in rows.tensors.items()})
        for name, rows in state.tables.items()
    }
    return TrainerState(tables, state.values)


@dataclass(frozen=True)
class Run:
    """What one rank has to tell of whole trainings and of those that are stopped in the middle."""

    errors: dict[str, list[float]]
    gradients: dict[str, torch.Tensor]
    stopped: dict[str, TrainerState]
    """By variant, as the next."""
    unbroken: dict[str, TrainerState]


def whole_run(collectives: Collectives, path: Path) -> Run:
    errors: dict[str, list[float]] = {}
    unbroken: dict[str, TrainerState] = {}
    for variant in VARIANTS:
        trainer = trainer_of(collectives, path, variant)
        errors[variant] = [trainer.train_epoch(lambda: False).train.rmse for _ in range(EPOCHS)]
        errors[variant].append(trainer.validate().rmse)
        unbroken[variant] = copied(trainer.state())
    stopped = {variant: stop_in_the_middle(collectives, path, variant) for variant in RESUMED}
    return Run(errors, first_gradients(collectives, path), stopped, unbroken)


def first_gradients(collectives: Collectives, path: Path) -> dict[str, torch.Tensor]:
    """What the first step hands to the optimizer, from a decoder that is not zero."""
    # A bound that nothing reaches lets gradients be whole, for their norm, on one rank as well.
    trainer = trainer_of(collectives, path, gradient_clip=1e30)
    with torch.no_grad():
        trainer._model.decoder.normal_(generator=torch.Generator().manual_seed(1))
    trainer._train_step(range(1))
    gradients = {}
    for name, parameter in trainer._model.named_parameters():
        assert parameter.grad is not None, name
        gradients[name] = parameter.grad.clone()
    return gradients


def stop_in_the_middle(collectives: Collectives, path: Path, variant: str) -> TrainerState:
    trainer = trainer_of(collectives, path, variant)
    for _ in range(3):
        trainer.train_epoch(lambda: False)
    asked = iter([True] if settings_of(variant).is_full_batch else [False, False, True])
    assert not trainer.train_epoch(lambda: next(asked)).finished
    return copied(trainer.state())


def go_on(
    collectives: Collectives, path: Path, variant: str, states: list[TrainerState]
) -> tuple[TrainerState, float, int]:
    trainer = trainer_of(collectives, path, variant)
    trainer.load_state(saved(*states))
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
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_number_of_ranks_reaches_the_same_errors(
    runs: dict[int, list[Run]], variant: str, world_size: int
) -> None:
    for run in runs[world_size]:
        assert run.errors[variant] == pytest.approx(runs[1][0].errors[variant], abs=1e-5)


@pytest.mark.parametrize("world_size", [2, 4])
def test_gradients_equal_those_of_one_process(runs: dict[int, list[Run]], world_size: int) -> None:
    for run in runs[world_size]:
        for name, want in runs[1][0].gradients.items():
            largest = want.abs().max().item()
            assert largest > 0
            torch.testing.assert_close(run.gradients[name], want, rtol=1e-6, atol=1e-6 * largest)


@pytest.mark.parametrize("variant", RESUMED)
def test_resumed_equals_unbroken_bit_for_bit(runs: dict[int, list[Run]], path: Path, variant: str) -> None:
    states = [run.stopped[variant] for run in runs[2]]
    resumed = run_ranks(go_on, 2, path.parent, path, variant, states)
    for run, (got, rmse, _) in zip(runs[2], resumed, strict=True):
        assert rmse == run.errors[variant][-1]
        assert got.values == run.unbroken[variant].values
        for name, rows in run.unbroken[variant].tables.items():
            for key, tensor in rows.tensors.items():
                assert torch.equal(tensor, got.tables[name].tensors[key]), f"{name}.{key}"


@pytest.mark.parametrize(("before", "after"), [("items", "items"), ("sharded", "items"), ("items", "sharded")])
def test_three_ranks_go_on_where_four_stopped(
    runs: dict[int, list[Run]], path: Path, before: str, after: str
) -> None:
    num_ratings = Dataset.open(str(path)).manifest.num_ratings["train"]
    states = [run.stopped[before] for run in runs[4]]
    for _, rmse, count in run_ranks(go_on, 3, path.parent, path, after, states):
        assert rmse == pytest.approx(runs[1][0].errors["items"][-1], abs=1e-5)
        assert count == num_ratings


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("replicated", ["items", "users", "dropout", "full batch", "deep", "tied"])
def test_sharded_columns_train_the_model_of_replicated_ones(
    runs: dict[int, list[Run]], world_size: int, replicated: str
) -> None:
    sharded = f"sharded {replicated}".removesuffix(" items")
    for run in runs[world_size]:
        assert run.errors[sharded] == pytest.approx(runs[1][0].errors[replicated], abs=1e-5)


SEARCH_EPOCHS = 26


def searched(collectives: Collectives, path: Path, parallel: str) -> tuple[tuple[str, ...], list[float]]:
    """What a search says, and the errors of its epochs."""
    chosen = {
        "hidden": 8,
        "batch_ratings": 4500,
        "learning_rate": 0.02,
        "parallel": parallel,
        "length_normalization": 0.5,
    }
    settings = AutorecSettings.model_validate({"kind": "autorec", **chosen})
    trainer = AutorecTrainer(Dataset.open(str(path)), settings, SEARCH_EPOCHS, 5, collectives)
    results = [trainer.train_epoch(lambda: False) for _ in range(SEARCH_EPOCHS)]
    assert not trainer.is_searching
    notes = tuple(result.note.split(":")[0] for result in results if result.note is not None)
    return notes, [result.train.rmse for result in results]


@pytest.mark.parametrize("parallel", ["ddp", "sharded"])
def test_any_number_of_ranks_finds_the_same_settings(tmp_path: Path, parallel: str) -> None:
    user, item, rating = low_rank_ratings(400, 200, 24_000)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.9, 0, 2)
    write_dataset(tmp_path / "data", user, item, rating, split, num_shards=3)
    notes, errors = searched(Collectives(World.single("cpu")), tmp_path / "data", "ddp")
    assert len(notes) >= 4
    for size in (2, 4):
        for theirs in run_ranks(searched, size, tmp_path, tmp_path / "data", parallel):
            assert theirs[0] == notes
            assert theirs[1] == pytest.approx(errors, abs=1e-5)


def test_what_travels_is_what_the_formula_says(path: Path) -> None:
    for variant, per_epoch in run_ranks(received, 2, path.parent, path)[0].items():
        dataset = Dataset.open(str(path))
        rows, columns, hidden = dataset.num_items, dataset.num_users, 8
        steps = 4
        expected = {
            "items": 4 * steps * (2 * columns * hidden + columns + hidden),
            "full batch": 4 * (2 * columns * hidden + columns + hidden),
            "deep": 4 * steps * (columns * (8 + 6 + 1) + 8 + (8 * 5 + 5) + (5 * 6 + 6)),
            "tied": 4 * steps * (columns * (8 + 1) + 8 + (8 * 5 + 5) + (5 * 8 + 8)),
            "sharded": 8 * rows * hidden,
            "sharded deep": 4 * rows * (8 + 6),
        }
        # 2 (w - 1) / w is 1 for two ranks
        assert per_epoch == pytest.approx(expected[variant] / 1e6, rel=1e-12)


def received(collectives: Collectives, path: Path) -> dict[str, float]:
    """What an epoch receives, in MB, by variant."""
    variants = ("items", "full batch", "deep", "tied", "sharded", "sharded deep")
    return {
        variant: received_by(collectives, trainer_of(collectives, path, variant)) / 1e6 for variant in variants
    }


def received_by(collectives: Collectives, trainer: AutorecTrainer) -> int:
    before = collectives.received_bytes
    trainer.train_epoch(lambda: False)
    return collectives.received_bytes - before


def told_of_divergence(collectives: Collectives, path: Path, variant: str) -> str:
    """The errors of the second batch are no numbers on the last rank alone."""
    trainer = trainer_of(collectives, path, variant)
    add_gradients = trainer._add_gradients

    def poisoned(number: int, share: float) -> None:
        if number == 1 and collectives.world.rank == collectives.world.size - 1:
            trainer._sums.add(torch.tensor([torch.nan]))
        add_gradients(number, share)

    trainer._add_gradients = poisoned  # type: ignore[method-assign]
    with pytest.raises(TrainingError) as told:
        trainer.train_epoch(lambda: False)
    return str(told.value)


@pytest.mark.parametrize("variant", ["items", "sharded", "full batch"])
def test_every_rank_ends_where_one_diverges(path: Path, variant: str) -> None:
    for told in run_ranks(told_of_divergence, 2, path.parent, path, variant, deadline_s=60):
        assert re.search(r"not finite in epoch 1, at step [12], in batch 2 of 4, on rank 1 of 2; lower", told), (
            told
        )
