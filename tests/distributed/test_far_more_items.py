"""Where there are far more items than users, the items stay with the ranks and the users travel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.mf.ranks import rating_matrix
from recsys_dist.families.mf.ranks.rating_matrix import RatingMatrix
from recsys_dist.families.mf.training import trainer as trainer_module
from recsys_dist.families.mf.training.trainer import EmTrainer
from recsys_dist.protocols.trainer import EpochResult
from tests.distributed.test_em import (
    DIAGONAL,
    EVERYTHING,
    digests_and_rmse,
    hash_of,
    new_trainer,
    resumed,
    trained,
)
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.ranks import run_ranks
from tests.support.states import saved

USERS, ITEMS, RATINGS = 61, 400, 7000


@pytest.fixture
def both_ways(tmp_path: Path) -> tuple[Path, Path]:
    """Few users and many items, and the same ratings with users and items swapped."""
    user, item, rating = low_rank_ratings(USERS, ITEMS, RATINGS)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.9, 0, 1)
    write_dataset(tmp_path / "data", user, item, rating, split, USERS, ITEMS, num_shards=5)
    write_dataset(tmp_path / "swapped", item, user, rating, split, ITEMS, USERS, num_shards=5)
    return tmp_path / "data", tmp_path / "swapped"


def epochs_of(path: Path, epochs: int = 6, **settings: Any) -> tuple[EmTrainer, list[EpochResult]]:
    trainer = new_trainer(Collectives(World.single()), path, seed=3, **settings)
    return trainer, [trainer.train_epoch(lambda: False) for _ in range(epochs)]


SWAPPED = {"users": "items", "items": "users"}


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
@pytest.mark.parametrize("constrained", ["users", "both"])
def test_swapped_ratings_give_the_swapped_model_to_the_bit(
    both_ways: tuple[Path, Path], posterior: str, constrained: str
) -> None:
    there, back = both_ways
    settings: dict[str, Any] = {"factors": 4, "posterior": posterior, "constrained_regularization": 2.0}
    mine, first = epochs_of(there, constrained=constrained, **settings)
    swapped, second = epochs_of(back, constrained=SWAPPED.get(constrained, constrained), **settings)

    for name, other in SWAPPED.items():
        own, theirs = mine.state().tables[name].tensors, swapped.state().tables[other].tensors
        assert own.keys() == theirs.keys()
        assert hash_of(own) == hash_of(theirs)
    assert mine.state().values["user_prior"] == swapped.state().values["item_prior"]
    assert [one.extra["bound"] for one in first] == [one.extra["bound"] for one in second]
    assert mine.validate() == swapped.validate()


def test_precisions_of_users_are_theirs(both_ways: tuple[Path, Path]) -> None:
    trainer, _ = epochs_of(both_ways[0], factors=3, noise="users")
    tables = trainer.state().tables
    assert tables["users"].tensors["precision"].shape == (USERS,)
    assert "precision" not in tables["items"].tensors


def in_pieces(collectives: Collectives, path: Path, *arguments: Any) -> tuple[str, str, float]:
    """With shards cut into several pieces."""
    rating_matrix.PIECE_ROWS = 50
    trainer = new_trainer(collectives, path, 3, arguments[1], factors=4)
    assert (trainer._matrix.staying, len(trainer._matrix.shards) > 8) == ("items", True)
    return digests_and_rmse(collectives, path, *arguments)


@pytest.mark.parametrize(
    ("settings", "limit"), [(EVERYTHING, None), (DIAGONAL, None), (EVERYTHING, 300_000)], ids=str
)
def test_one_to_four_ranks_give_the_same_bits(
    both_ways: tuple[Path, Path], tmp_path: Path, settings: dict[str, Any], limit: int | None
) -> None:
    outcomes = [
        run_ranks(in_pieces, size, tmp_path / "ranks", both_ways[0], settings, limit)[0] for size in (1, 2, 4)
    ]
    assert len(set(outcomes)) == 1, outcomes


def test_a_run_goes_on_under_a_limit_that_lets_users_stay(both_ways: tuple[Path, Path]) -> None:
    """Not to the bits of one without a limit, whose steps have another order."""
    alone, settings = Collectives(World.single()), {"factors": 3, **EVERYTHING}
    begun = trained(alone, both_ways[0], 5, **settings)
    limited = new_trainer(alone, both_ways[0], 3, 20_000, **settings)
    assert limited._matrix.staying == "users"
    limited.load_state(saved(begun.state()))
    assert limited.validate().rmse == pytest.approx(begun.validate().rmse, rel=0.02)
    errors = [limited.train_epoch(lambda: False).train.rmse for _ in range(5)]
    assert errors == sorted(errors, reverse=True)
    assert limited.state().values["staying"] == "users"


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
def test_a_resumed_run_equals_the_unbroken_one(both_ways: tuple[Path, Path], posterior: str) -> None:
    settings = {"factors": 3, "posterior": posterior, **EVERYTHING}
    alone = Collectives(World.single())
    unbroken = trained(alone, both_ways[0], 3, **settings).state()
    for name, tensors in zip(("items", "users"), resumed(alone, both_ways[0], settings), strict=True):
        assert hash_of(tensors) == hash_of(unbroken.tables[name].tensors)


def test_pieces_hold_every_rating_once(both_ways: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_matrix, "PIECE_ROWS", 30)
    dataset = Dataset.open(str(both_ways[0]))
    matrix = RatingMatrix(dataset)
    blocks = [matrix.block(shard) for shard in range(len(matrix.shards))]
    assert [(block.start, block.stop) for block in blocks] == [(one.start, one.stop) for one in matrix.shards]
    assert max(block.num_rows for block in blocks) <= 30
    counts = np.concatenate([np.diff(block.indptr) for block in blocks])
    assert counts.tolist() == dataset.num_train("items").tolist()

    valid = matrix.valid(range(len(matrix.shards)))
    files = [dataset.ratings("valid", shard) for shard in range(len(dataset.shards("users")))]
    expected = np.concatenate([np.stack([one.user_index, one.item_index, one.rating]) for one in files], 1)
    found = np.concatenate([np.stack([one.travelling, one.staying, one.rating]) for one in valid], 1)
    assert sorted(found.T.tolist()) == sorted(expected.T.tolist())
    for one, shard in zip(valid, matrix.shards, strict=True):
        assert ((one.staying >= shard.start) & (one.staying < shard.stop)).all()


def test_users_stay_where_there_are_not_far_more_items(both_ways: tuple[Path, Path]) -> None:
    matrix = RatingMatrix(Dataset.open(str(both_ways[1])))
    assert (matrix.staying, matrix.travelling) == ("users", "items")
    assert [shard.num_ratings for shard in matrix.shards] == [
        shard.num_ratings for shard in matrix.dataset.shards("users")
    ]


def test_predictions_are_as_good_whichever_side_stays(
    both_ways: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    items_stay, _ = epochs_of(both_ways[0], 60, factors=3)
    monkeypatch.setattr(rating_matrix, "FAR_MORE", 1000)
    users_stay, _ = epochs_of(both_ways[0], 60, factors=3)
    assert not torch.equal(
        items_stay.state().tables["items"].tensors["mean"], users_stay.state().tables["items"].tensors["mean"]
    )
    assert items_stay.validate().rmse == pytest.approx(users_stay.validate().rmse, abs=0.01)


def searched(collectives: Collectives, path: Path, break_after: int | None) -> tuple[str, str]:
    """Withhold, search and train on, in pieces; broken off and resumed in the middle if asked for."""
    rating_matrix.PIECE_ROWS = 50
    settings: dict[str, Any] = {"factors": "auto", "constrained": "auto", "noise": "auto"}
    trainer = new_trainer(collectives, path, 3, **settings)
    assert trainer._matrix.staying == "items"
    for epoch in range(40):
        if epoch == break_after:
            assert trainer.is_searching
            resumed_trainer = new_trainer(collectives, path, 3, **settings)
            resumed_trainer.load_state(saved(trainer.state()))
            trainer = resumed_trainer
        trainer.train_epoch(lambda: False)
    assert not trainer.is_searching
    model = trainer._model
    everyone = collectives.gather_rows(model.items.mean_nR.T.contiguous(), model.exchange._item_ranges)
    return hash_of({"mean": everyone}), str(trainer.state().values["search"])


def test_a_search_on_withheld_ratings_is_the_same_on_ranks_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What `searched` sets in this process ends with the test.
    monkeypatch.setattr(rating_matrix, "PIECE_ROWS", 50)
    user, item, rating = low_rank_ratings(150, 900, 16_000)
    write_dataset(tmp_path / "data", user, item, rating, np.zeros(len(user)), 150, 900, num_shards=5)
    outcomes = {run_ranks(searched, size, tmp_path / "ranks", tmp_path / "data", None)[0] for size in (1, 3)}
    assert len(outcomes) == 1
    assert searched(Collectives(World.single()), tmp_path / "data", 6) in outcomes


def warmed_up(collectives: Collectives, path: Path) -> tuple[str, str, float]:
    """As on large data: the first rounds see every fourth piece."""
    trainer_module.WARM_UP_RATINGS = 1000
    return in_pieces(collectives, path, EVERYTHING, None)


def test_first_rounds_on_some_pieces_are_the_same_on_ranks(both_ways: tuple[Path, Path], tmp_path: Path) -> None:
    outcomes = [run_ranks(warmed_up, size, tmp_path / "ranks", both_ways[0])[0] for size in (1, 3)]
    cold = run_ranks(in_pieces, 1, tmp_path / "ranks", both_ways[0], EVERYTHING, None)[0]
    assert outcomes[0] == outcomes[1] != cold
    assert outcomes[0][2] < 1.02 * cold[2]
