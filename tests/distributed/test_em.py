"""EM on ranks: the same bits on any number of them, plain ridge as a special case, resume without a trace."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.checkpoint.state import TrainerState
from recsys_dist.data.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.training.config import MfSettings
from recsys_dist.training.em_trainer import EmTrainer
from tests.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.ranks import run_ranks


class SavedState:
    """A StateReader over states in memory: what the checkpoint store does, without files."""

    def __init__(self, states: list[TrainerState]) -> None:
        self.values = states[0].values
        self._states = states

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        parts = [state.tables[table].tensors for state in self._states]
        return {name: torch.cat([part[name] for part in parts])[start:stop].clone() for name in parts[0]}


def trained(collectives: Collectives, path: Path, epochs: int, **settings: Any) -> EmTrainer:
    trainer = EmTrainer(
        Dataset.open(str(path)), MfSettings(kind="mf", **settings), seed=3, collectives=collectives
    )
    for _ in range(epochs):
        trainer.train_epoch(lambda: False)
    return trainer


def digest_and_rmse(collectives: Collectives, path: Path) -> tuple[str, float, float]:
    trainer = trained(collectives, path, 4, factors=4)
    users = collectives.gather_json(hash_of(trainer.state().tables["users"].tensors))
    items = b"".join(table.numpy().tobytes() for table in (trainer._item_mean_In, *trainer._item_moments))
    assert len(users) == collectives.world.size
    return hashlib.sha256(items).hexdigest(), trainer.validate().rmse, trainer._noise_variance


def hash_of(tensors: Any) -> str:
    return hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()


def test_one_to_four_ranks_give_the_same_bits(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data", num_users=301, num_items=97, num_ratings=7000, num_shards=5)

    outcomes = [
        run_ranks(digest_and_rmse, size, tmp_path / "ranks", tmp_path / "data")[0] for size in (1, 2, 3, 4)
    ]

    assert len(set(outcomes)) == 1, outcomes


def test_more_ranks_than_shards_leaves_some_without_rows_and_changes_nothing(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data", num_shards=2)

    alone, many = (run_ranks(digest_and_rmse, size, tmp_path / "ranks", tmp_path / "data")[0] for size in (1, 3))

    assert alone == many


def resumed(collectives: Collectives, path: Path, settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    part = trained(collectives, path, 2, **settings)
    fresh = EmTrainer(Dataset.open(str(path)), MfSettings(kind="mf", **settings), seed=99, collectives=collectives)
    fresh.load_state(SavedState([part.state()]))
    assert fresh.epochs_done == 2
    fresh.train_epoch(lambda: False)
    return dict(fresh.state().tables["items"].tensors), dict(fresh.state().tables["users"].tensors)


@pytest.mark.parametrize("posterior", ["full", "point"])
@pytest.mark.parametrize("prior", ["adaptive", "fixed"])
def test_a_resumed_run_equals_the_unbroken_one(tmp_path: Path, posterior: str, prior: str) -> None:
    small_dataset(tmp_path / "data")
    alone = Collectives(World.single())
    settings = {"factors": 3, "posterior": posterior, "prior": prior}
    unbroken = trained(alone, tmp_path / "data", 3, **settings).state()

    items, users = resumed(alone, tmp_path / "data", settings)

    assert hash_of(items) == hash_of(unbroken.tables["items"].tensors)
    assert hash_of(users) == hash_of(unbroken.tables["users"].tensors)


def test_point_and_fixed_is_alternating_ridge(tmp_path: Path) -> None:
    """Against ALS written out in NumPy: min sum (r - mu - b - c - p.q)^2 + lambda (|p|^2 + b^2 + |q|^2 + c^2)."""
    dataset = small_dataset(tmp_path / "data")
    trainer = trained(
        Collectives(World.single()),
        tmp_path / "data",
        6,
        factors=2,
        posterior="point",
        prior="fixed",
        regularization=3.0,
    )
    state = trainer.state()
    x, y = (state.tables[side].tensors["mean"].numpy().astype(np.float64) for side in ("users", "items"))
    for user in range(dataset.num_users):
        block = dataset.block(
            "users", next(s for s, shard in enumerate(dataset.manifest.user_shards) if user < shard.stop)
        )
        begin, end = block.indptr[user - block.start], block.indptr[user - block.start + 1]
        items, centred = block.indices[begin:end], block.values[begin:end] - dataset.manifest.rating.mean
        design = np.column_stack([y[items, :2], np.ones(len(items))])
        solution = np.linalg.solve(design.T @ design + 3.0 * np.eye(3), design.T @ (centred - y[items, 2]))
        np.testing.assert_allclose(x[user], solution, rtol=2e-4, atol=2e-5)


def test_the_bound_of_the_trainer_falls_by_no_more_than_rounding(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data")
    for prior in ("adaptive", "fixed"):
        settings = MfSettings(kind="mf", factors=3, prior=prior)
        alone = Collectives(World.single())
        trainer = EmTrainer(Dataset.open(str(tmp_path / "data")), settings, seed=0, collectives=alone)
        bounds = [trainer.train_epoch(lambda: False).extra["bound"] for _ in range(20)]
        assert all(after >= before - 1e-6 * abs(before) for before, after in itertools.pairwise(bounds)), bounds


@pytest.mark.parametrize("posterior", ["full", "point"])
@pytest.mark.parametrize("prior", ["adaptive", "fixed"])
@pytest.mark.parametrize("ratings", ["one", "two", "equal", "one user", "one item"])
def test_data_that_says_almost_nothing_gives_a_finite_answer(
    tmp_path: Path, posterior: str, prior: str, ratings: str
) -> None:
    rng = np.random.default_rng(0)
    user, item, rating = {
        "one": ([0], [0], [4.0]),
        "two": ([0, 1], [1, 0], [1.0, 5.0]),
        "equal": (np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6), np.full(30, 3.0)),
        "one user": (np.zeros(9, int), np.arange(9), rng.integers(1, 6, 9)),
        "one item": (np.arange(9), np.zeros(9, int), rng.integers(1, 6, 9)),
    }[ratings]
    arrays = (np.asarray(user), np.asarray(item), np.asarray(rating, float))
    write_dataset(tmp_path / "data", *arrays, np.zeros(len(arrays[0])), num_shards=1)

    state = trained(Collectives(World.single()), tmp_path / "data", 30, posterior=posterior, prior=prior).state()

    x, y = (state.tables[side].tensors["mean"] for side in ("users", "items"))
    predicted = state.values["mu"] + (x[:, :-1] @ y[:, :-1].T) + x[:, -1:] + y[:, -1]
    observed = predicted[arrays[0], arrays[1]]
    assert torch.isfinite(predicted).all()
    assert (observed - torch.from_numpy(arrays[2])).square().mean().sqrt() <= arrays[2].std() + 0.1


def test_it_learns_better_than_the_noise_floor_allows_biases_alone(tmp_path: Path) -> None:
    user, item, rating = low_rank_ratings(400, 150, 20000, noise=0.3)
    split = np.where(np.random.default_rng(0).random(len(user)) < 0.9, 0, 1)
    write_dataset(tmp_path / "data", user, item, rating, split)
    alone = Collectives(World.single())

    biases = trained(alone, tmp_path / "data", 10, factors=0).validate().rmse
    factors = trained(alone, tmp_path / "data", 10, factors=4).validate().rmse

    assert factors < 0.7 * biases
    assert factors < 0.45  # rounding to half steps and noise of 0.3 leave 0.33


def test_every_tensor_is_made_on_the_device_of_the_run(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data")
    torch.set_default_device("meta")
    try:
        trainer = trained(Collectives(World.single("cpu")), tmp_path / "data", 2, factors=3)
        state, rmse = trainer.state(), trainer.validate().rmse
        trainer.load_state(SavedState([state]))
    finally:
        torch.set_default_device(None)
    assert 0 < rmse < 2
