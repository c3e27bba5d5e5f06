"""A sample has the shape of the dataset whose manifest it is made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.planning.sample import write_sample
from recsys_dist.storage.folder import Folder
from tests.support.prepared import small_dataset

SHARES: list[dict[Side, float]] = [
    {"users": 1.0, "items": 1.0},
    {"users": 0.4, "items": 1.0},
    {"users": 0.5, "items": 0.5},
]


@pytest.mark.parametrize("shares", SHARES)
def test_rows_and_ratings_are_thinned_shard_by_shard(tmp_path: Path, shares: dict[Side, float]) -> None:
    dataset = small_dataset(tmp_path / "data", num_users=2000, num_items=400, num_ratings=40_000)
    (tmp_path / "sample").mkdir()
    sample = write_sample(dataset.manifest, shares, Folder(str(tmp_path / "sample")))
    sample.verify()
    kept = shares["users"] * shares["items"]
    for side in SIDES:
        for whole, thin in zip(dataset.shards(side), sample.shards(side), strict=True):
            assert thin.num_rows == pytest.approx(whole.num_rows * shares[side], abs=0.51)
            # Four standard deviations of independent draws.
            assert abs(thin.num_ratings - whole.num_ratings * kept) < 4 * np.sqrt(whole.num_ratings * kept)
        assert sum(sample.num_train(side)) == sample.manifest.num_ratings["train"]
    assert sample.manifest.rating.mean == dataset.manifest.rating.mean


def test_both_orientations_hold_the_same_ratings(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    (tmp_path / "sample").mkdir()
    sample = write_sample(dataset.manifest, SHARES[0], Folder(str(tmp_path / "sample")))

    def pairs(side: Side) -> set[tuple[int, int, float]]:
        found = set()
        for shard in range(len(sample.shards(side))):
            block = sample.block(side, shard)
            rows = np.repeat(np.arange(block.start, block.stop), np.diff(block.indptr))
            found |= set(zip(rows.tolist(), block.indices.tolist(), block.values.tolist(), strict=True))
        return found

    assert pairs("users") == {(user, item, value) for item, user, value in pairs("items")}
    assert len(sample.ratings("train", 0)) == sample.shards("users")[0].num_ratings
    assert sum(len(sample.ratings("valid", shard)) for shard in range(4)) == sample.manifest.num_ratings["valid"]
