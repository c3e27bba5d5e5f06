"""Catalogues in which a shard has ratings of a few items only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.mf.ranks import rating_shards
from recsys_dist.families.mf.ranks.rating_matrix import RatingMatrix
from recsys_dist.families.mf.ranks.rating_shards import RatingShards
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.prepared import write_dataset

NUM_ITEMS = 3000


@pytest.fixture
def long_tail(tmp_path: Path) -> Dataset:
    """Half of the ratings go to 20 items; each of the others is the only rating of its item."""
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(800), 3)
    item = rng.integers(0, 20, len(user))
    item[::2] = rng.choice(np.arange(20, NUM_ITEMS - 1), len(user) // 2, replace=False)
    user, item = np.unique(np.stack([user, item]), axis=1)
    rating = rng.integers(1, 6, len(user)).astype(np.float32)
    return write_dataset(tmp_path / "dataset", user, item, rating, np.zeros(len(user)), num_items=NUM_ITEMS)


def shards_of(dataset: Dataset) -> RatingShards:
    return RatingShards(RatingMatrix(dataset), range(4), torch.device("cpu"), seed=0, keep=True)


def test_a_shard_has_rows_for_the_items_it_rates(long_tail: Dataset) -> None:
    for shard in shards_of(long_tail):
        rated = sorted(set(shard.ratings.indices.tolist()))
        items, transposed = shard.of_items(0, NUM_ITEMS)
        assert items is not None
        assert items.tolist() == rated
        assert transposed.indptr.diff().tolist() == np.bincount(shard.ratings.indices)[rated].tolist()

        items, transposed = shard.of_items(15, 200)
        assert items is not None
        assert (items + 15).tolist() == [item for item in rated if 15 <= item < 200]
        assert transposed.num_rows == len(items)


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
@pytest.mark.parametrize("memory_limit", [None, 1 << 20])
def test_rows_of_rated_items_alone_give_the_bits_of_rows_of_all_items(
    posterior: str, memory_limit: int | None, long_tail: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = MfSettings.model_validate({"factors": 4, "posterior": posterior, "constrained": "both"})

    def means() -> torch.Tensor:
        trainer = EmTrainer(long_tail, settings, 3, 0, Collectives(World.single()), memory_limit)
        for _ in range(3):
            trainer.train_epoch(lambda: False)
        return trainer.state().tables["items"].tensors["mean"]

    compact = means()
    monkeypatch.setattr(rating_shards, "DENSE_SHARE", 0.0)
    assert next(iter(shards_of(long_tail))).items is None
    assert torch.equal(means(), compact)
