"""EM on ranks: the same bits on any number of them, plain ridge as a special case, resume without a trace."""

import hashlib
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import Side
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import TrainingError
from recsys_dist.families.mf.em import constrained
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.diagonal_factorization import SOLVE_STEPS, DiagonalFactorization
from recsys_dist.families.mf.training.full_factorization import FullFactorization
from recsys_dist.families.mf.training.search import Search
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.support.ranks import run_ranks
from tests.support.states import saved


def trained(
    collectives: Collectives, path: Path, epochs: int, memory_limit: int | None = None, **settings: Any
) -> EmTrainer:
    trainer = new_trainer(collectives, path, seed=3, memory_limit=memory_limit, **settings)
    for _ in range(epochs):
        trainer.train_epoch(lambda: False)
    return trainer


def new_trainer(
    collectives: Collectives, path: Path, seed: int, memory_limit: int | None = None, **settings: Any
) -> EmTrainer:
    chosen = MfSettings(kind="mf", **{"constrained": "none", "noise": "shared", **settings})
    return EmTrainer(Dataset.open(str(path)), chosen, 100, seed, collectives, memory_limit)


EVERYTHING: dict[str, Any] = {"constrained": "both", "constrained_regularization": 2.0, "noise": "both"}
DIAGONAL = {**EVERYTHING, "posterior": "diagonal"}


def digests_and_rmse(
    collectives: Collectives, path: Path, settings: dict[str, Any], memory_limit: int | None = None
) -> tuple[str, str, float]:
    """Of all rows of users and items, whoever owns them, and of the replicated values."""
    trainer = trained(collectives, path, 4, memory_limit, factors=4, **settings)
    state = trainer.state()
    rows = []
    for name, table in sorted(state.tables.items()):
        for column, tensor in sorted(table.tensors.items()):
            ranges = [(0, n) for n in collectives.gather_json(len(tensor))]
            edges = list(itertools.accumulate((stop for _, stop in ranges), initial=0))
            everyone = collectives.gather_rows(tensor, list(itertools.pairwise(edges)))
            rows.append((name, column, hashlib.sha256(everyone.numpy().tobytes()).hexdigest()))
    assert {name for name, _, _ in rows} == {"users", "items"}
    return json.dumps(rows), json.dumps(state.values, sort_keys=True), trainer.validate().rmse


def hash_of(tensors: Any) -> str:
    return hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()


@pytest.mark.parametrize("settings", [{}, EVERYTHING, DIAGONAL], ids=["plain", "everything", "diagonal"])
def test_one_to_four_ranks_give_the_same_bits(tmp_path: Path, settings: dict[str, Any]) -> None:
    small_dataset(tmp_path / "data", num_users=301, num_items=97, num_ratings=7000, num_shards=5)

    outcomes = [
        run_ranks(digests_and_rmse, size, tmp_path / "ranks", tmp_path / "data", settings)[0]
        for size in (1, 2, 3, 4)
    ]

    assert len(set(outcomes)) == 1, outcomes


@pytest.mark.parametrize(
    "settings",
    [
        {"constrained": "auto", "noise": "auto", "factors": 32},
        {"constrained": "auto", "noise": "auto", "factors": 5},
        {"constrained": "none", "noise": "users", "factors": 5},
        {"constrained": "none", "noise": "both", "factors": 5},
        {"constrained": "none", "noise": "both", "factors": 32},
        {**EVERYTHING, "factors": 32},
    ],
)
def test_ratings_without_noise_are_learnt_to_the_end(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Errors of rounding alone are left then, in sums that it has made indefinite."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(400), 40)
    item = np.concatenate([rng.choice(80, 40, replace=False) for _ in range(400)])
    rating = np.where(user % 2, 5.0, 1.0 + item % 5)
    write_dataset(tmp_path / "data", user, item, rating, (rng.random(len(user)) < 0.1).astype(int))
    trainer = new_trainer(Collectives(World.single()), tmp_path / "data", 3, **settings)
    for _ in range(30):
        trainer.train_epoch(lambda: False)
    for table in trainer.state().tables.values():
        assert all(tensor.isfinite().all() for tensor in table.tensors.values())
    assert trainer.validate().rmse < 0.1


def test_more_ranks_than_shards_leaves_some_without_rows_and_changes_nothing(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data", num_shards=2)

    alone, many = (
        run_ranks(digests_and_rmse, size, tmp_path / "ranks", tmp_path / "data", EVERYTHING)[0] for size in (1, 3)
    )

    assert alone == many


def test_ratings_read_anew_on_every_pass_give_the_same_bits_as_kept_ones(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data")
    alone = Collectives(World.single())
    kept, anew = (new_trainer(alone, tmp_path / "data", 3, factors=2, **EVERYTHING) for _ in range(2))
    anew._shards.keep = False

    for trainer in (kept, anew):
        for _ in range(3):
            trainer.train_epoch(lambda: False)

    assert not anew._shards._kept
    for side in ("users", "items"):
        assert hash_of(kept.state().tables[side].tensors) == hash_of(anew.state().tables[side].tensors)


SMALL = 40_000
"""Bytes that let the 97 items below travel in several blocks."""


def item_means(path: Path, settings: dict[str, Any], memory_limit: int | None) -> list[torch.Tensor]:
    trainer = trained(Collectives(World.single()), path, 4, memory_limit, factors=4, **settings)
    num_blocks = len(trainer._model.exchange.item_blocks)
    assert num_blocks == 1 if memory_limit is None else num_blocks > 2
    return [
        trainer.state().tables[side].tensors[name]
        for side in ("users", "items")
        for name in ("mean", "constraint")
    ]


@pytest.mark.parametrize(("settings", "limit"), [(EVERYTHING, SMALL), (DIAGONAL, SMALL // 2)])
def test_items_that_travel_in_blocks_give_the_same_model(
    tmp_path: Path, settings: dict[str, Any], limit: int
) -> None:
    """The same bits on any number of ranks; beside the tables that are whole, other float32 roundings."""
    small_dataset(tmp_path / "data", num_users=301, num_items=97, num_ratings=7000, num_shards=5)
    one, three = (
        run_ranks(digests_and_rmse, size, tmp_path / "ranks", tmp_path / "data", settings, limit)[0]
        for size in (1, 3)
    )
    assert one == three

    whole, in_blocks = (item_means(tmp_path / "data", settings, one) for one in (None, limit))

    for mine, theirs in zip(whole, in_blocks, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-5)


def diagonal_epoch_bytes(num_items: int, factors: int, world_size: int) -> int:
    """The formula of families/mf/ranks/entry_sums.py with everything."""
    numbers = (4 + 8) * DiagonalFactorization.row_floats(factors)
    numbers += (4 * 2 + 8 * 3 + 4 * 3 + 8 * 2) * (factors + 1)
    sums, width = 2 + SOLVE_STEPS, factors + 2
    numbers += sums * 4 * (width + 1) + sums * 4 * width + (sums - 1) * 8 * width + 8
    return (world_size - 1) * num_items * numbers


def epoch_bytes(
    num_items: int, factors: int, world_size: int, with_constraints: bool, with_precisions: bool, products: int
) -> int:
    """The formula of families/mf/ranks/exchange.py, with one product or two for each constraint."""
    numbers = (4 + 8) * FullFactorization.row_floats(factors, with_constraints, with_precisions)
    if with_constraints:
        numbers += (4 + 8) * (2 * products + 1) * (factors + 1)
    return (world_size - 1) * num_items * numbers


def received_in_an_epoch(
    collectives: Collectives, path: Path, settings: dict[str, Any], limit: int | None, products: int = 2
) -> int:
    constrained.ENOUGH = math.inf if products == 1 else -1.0
    trainer = trained(collectives, path, 2, limit, factors=4, **settings)
    before = collectives.received_bytes
    trainer.train_epoch(lambda: False)
    return collectives.received_bytes - before


@pytest.mark.parametrize("limit", [None, SMALL])
@pytest.mark.parametrize(
    ("settings", "products"),
    [({}, 0), (EVERYTHING, 1), (EVERYTHING, 2)],
    ids=["plain", "everything, one step", "everything, two steps"],
)
def test_what_travels_in_an_epoch_is_what_the_formula_says(
    tmp_path: Path, settings: dict[str, Any], products: int, limit: int | None
) -> None:
    small_dataset(tmp_path / "data", num_users=301, num_items=97, num_ratings=7000, num_shards=5)
    everything = settings == EVERYTHING

    for size in (1, 3):
        arguments = (tmp_path / "data", settings, limit, products)
        received = run_ranks(received_in_an_epoch, size, tmp_path / "ranks", *arguments)

        assert sum(received) == epoch_bytes(97, 4, size, everything, everything, products)


def test_what_travels_with_independent_entries_is_what_the_formula_says(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data", num_users=301, num_items=97, num_ratings=7000, num_shards=5)

    for limit in (None, SMALL // 2):
        received = run_ranks(received_in_an_epoch, 3, tmp_path / "ranks", tmp_path / "data", DIAGONAL, limit)

        assert sum(received) == diagonal_epoch_bytes(97, 4, 3)


@pytest.mark.parametrize("settings", [EVERYTHING, DIAGONAL], ids=["full", "diagonal"])
def test_the_number_of_threads_changes_no_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    """One process uses all cores, ranks use one thread each: products of matrices must not add up differently."""
    small_dataset(tmp_path / "data", num_users=1000, num_items=300, num_ratings=20000, num_shards=2)
    alone, threads, digests = Collectives(World.single()), torch.get_num_threads(), []
    try:
        for number in (1, 2, 3, 4):
            torch.set_num_threads(number)
            trainer = trained(alone, tmp_path / "data", 4, **{**settings, "factors": 32})
            tables = trainer.state().tables
            values = json.dumps(trainer.state().values, sort_keys=True)
            digests.append([values, *(hash_of(tables[side].tensors) for side in ("users", "items"))])
    finally:
        torch.set_num_threads(threads)

    assert all(digest == digests[0] for digest in digests[1:])


@pytest.mark.parametrize("settings", [EVERYTHING, DIAGONAL], ids=["full", "diagonal"])
def test_nor_does_it_with_more_rows_than_one_thread_adds_up(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Biases alone, 40,000 users in one shard: torch splits sums of so many numbers by its threads."""
    rng, count = np.random.default_rng(0), 40_000
    user, item, rating = np.arange(count), rng.integers(0, 50, count), rng.integers(1, 6, count).astype(float)
    write_dataset(tmp_path / "data", user, item, rating, np.zeros(count), num_shards=1)
    alone, threads, states = Collectives(World.single()), torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            states.append(trained(alone, tmp_path / "data", 3, **{**settings, "factors": 0}).state())
    finally:
        torch.set_num_threads(threads)

    assert states[0].values == states[1].values
    for side in ("users", "items"):
        assert hash_of(states[0].tables[side].tensors) == hash_of(states[1].tables[side].tensors)


def test_a_form_that_is_taken_back_leaves_no_trace_in_what_is_summed(tmp_path: Path) -> None:
    """Squares of ratings that were weighted by precisions count whole again."""
    small_dataset(tmp_path / "data")
    trainer = trained(Collectives(World.single()), tmp_path / "data", 3, factors=3, noise="both")
    model, weighted = trainer._model, trainer._model.users.square_R.clone()
    trainer._search = Search.start(MfSettings(kind="mf"), can_judge=True).model_copy(update={"form": model.form})
    plain = Search.start(MfSettings(kind="mf", constrained="none", noise="shared"), can_judge=True)

    trainer._change_to(plain)

    counted = model.users.square_R.clone()
    model.count(trainer._shards.__iter__)
    assert torch.equal(counted, model.users.square_R)
    assert not torch.equal(counted, weighted)
    for noise in ("users", "both", "shared"):
        trainer._change_to(plain.model_copy(update={"form": plain.form.model_copy(update={"noise": noise})}))
        assert math.isfinite(trainer.train_epoch(lambda: False).extra["bound"])


def begin_with_a_damaged_shard(collectives: Collectives, path: Path) -> str:
    trainer = new_trainer(collectives, path, seed=0, factors=2)
    if collectives.world.rank == 1:
        read = Dataset.block

        def damaged(self: Dataset, side: Side, shard: int) -> Block:
            block = read(self, side, shard)
            values = block.values.copy()
            values[3] = np.nan
            return replace(block, values=values)

        Dataset.block = damaged  # type: ignore[method-assign]
    with pytest.raises(TrainingError) as caught:
        trainer.train_epoch(lambda: False)
    return str(caught.value)


def test_a_rating_that_is_no_number_is_named_on_every_rank(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data", num_shards=2)

    first, second = run_ranks(begin_with_a_damaged_shard, 2, tmp_path / "ranks", tmp_path / "data")

    assert first == second
    assert first.startswith("reading the train ratings failed: rank 1: ")
    assert "user shard 1 holds a rating nan outside" in first


def resumed(collectives: Collectives, path: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    part = trained(collectives, path, 2, **settings)
    fresh = new_trainer(collectives, path, seed=3, **settings)
    fresh.load_state(saved(part.state()))
    assert fresh.epochs_done == 2
    fresh.train_epoch(lambda: False)
    return dict(fresh.state().tables["items"].tensors), dict(fresh.state().tables["users"].tensors)


@pytest.mark.parametrize("posterior", ["full", "diagonal", "point"])
@pytest.mark.parametrize("prior", ["adaptive", "fixed", "everything"])
def test_a_resumed_run_equals_the_unbroken_one(tmp_path: Path, posterior: str, prior: str) -> None:
    small_dataset(tmp_path / "data")
    alone = Collectives(World.single())
    settings: dict[str, Any] = {"factors": 3, "posterior": posterior, "prior": prior}
    if prior == "everything":
        settings |= {"prior": "adaptive", **EVERYTHING}
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


def test_alternating_ridge_trains_until_it_stands_still(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data", num_users=400, num_items=150, num_ratings=20_000)
    ridge: dict[str, Any] = {"factors": 4, "posterior": "point", "prior": "fixed", "regularization": 3.0}
    trainer = new_trainer(Collectives(World.single()), tmp_path / "data", seed=0, **ridge)
    results = []
    while not trainer.has_converged:
        results.append(trainer.train_epoch(lambda: False))
    bounds = [result.extra["bound"] / result.train.count for result in results]
    assert all(after > before for before, after in itertools.pairwise(bounds))
    assert bounds[-1] - bounds[-2] < 1e-4 <= bounds[-2] - bounds[-3]
    further = [trainer.train_epoch(lambda: False).train.rmse for _ in range(10)]
    assert further[-1] == pytest.approx(results[-1].train.rmse, rel=5e-3)


def test_numbers_that_are_not_finite_end_in_what_would_help(tmp_path: Path) -> None:
    user, item, rating = low_rank_ratings(60, 40, 800)
    huge = np.where(rating > np.median(rating), 1e38, 1.0).astype(np.float32)
    dataset = write_dataset(tmp_path / "huge", user, item, huge, np.zeros(len(user), int))
    assert dataset.manifest.rating.max == pytest.approx(1e38)
    trainer = new_trainer(Collectives(World.single()), tmp_path / "huge", seed=0, factors=2)
    with pytest.raises(TrainingError, match=r"ratings from 1 to 1e\+38 are too large .* ratings\.max of prepare"):
        trainer.train_epoch(lambda: False)

    small_dataset(tmp_path / "data")
    absurd: dict[str, Any] = {"constrained": "both", "constrained_regularization": 1e300}
    with pytest.raises(TrainingError, match=r"set model\.constrained_regularization \(now 1e\+300\) to null"):
        trained(Collectives(World.single()), tmp_path / "data", 3, factors=2, **absurd)


def test_the_bound_of_the_trainer_falls_by_no_more_than_rounding(tmp_path: Path) -> None:
    small_dataset(tmp_path / "data")
    for form in ({}, {"prior": "fixed"}, EVERYTHING, {"posterior": "diagonal"}, DIAGONAL):
        trainer = new_trainer(Collectives(World.single()), tmp_path / "data", seed=0, factors=3, **form)
        bounds = [trainer.train_epoch(lambda: False).extra["bound"] for _ in range(20)]
        assert all(after >= before - 1e-6 * abs(before) for before, after in itertools.pairwise(bounds)), bounds


@pytest.mark.parametrize("posterior", ["full", "diagonal", "point"])
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
    mu: Any = state.values["mu"]
    predicted = mu + (x[:, :-1] @ y[:, :-1].T) + x[:, -1:] + y[:, -1]
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


@pytest.mark.parametrize("settings", [{}, DIAGONAL], ids=["full", "diagonal"])
def test_every_tensor_is_made_on_the_device_of_the_run(tmp_path: Path, settings: dict[str, Any]) -> None:
    small_dataset(tmp_path / "data")
    torch.set_default_device("meta")
    try:
        trainer = trained(Collectives(World.single("cpu")), tmp_path / "data", 2, factors=3, **settings)
        state, rmse = trainer.state(), trainer.validate().rmse
        trainer.load_state(saved(state))
    finally:
        torch.set_default_device(None)
    assert 0 < rmse < 2
