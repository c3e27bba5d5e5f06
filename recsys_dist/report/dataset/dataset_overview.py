"""Overview of the ratings of a prepared dataset, from one pass over its shards.

    U, I  users, items      S, T  shards of users, of items

Memory holds the number of ratings of each user and item, and one shard of ratings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Shard, Side
from recsys_dist.report.dataset.rating_counts import RatingCounts

NUM_RANKS = 200
"""Points of a curve over all users or items."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Activity:
    """Train ratings of users or items by descending activity: a curve of at most `NUM_RANKS` points."""

    rank: NDArray[np.int64]
    """Ranks from 1, evenly spaced on a logarithmic axis."""
    num_ratings: NDArray[np.int64]
    median: float
    num_cold: int
    """Users or items without a train rating; zeros of the curve."""

    @classmethod
    def of(cls, num_train: NDArray[np.int64]) -> Activity:
        """From the number of train ratings of each user or item."""
        falling = np.sort(num_train)[::-1]
        rank = np.unique(np.geomspace(1, len(falling), NUM_RANKS).round().astype(np.int64))
        return cls(rank, falling[rank - 1], float(np.median(falling)), int((falling == 0).sum()))


@dataclass(frozen=True)
class DatasetOverview:
    """The figures of a dataset as numbers."""

    ratings: RatingCounts
    activity: dict[Side, Activity]
    cells_ST: NDArray[np.int64]
    """Train ratings by user shard and item shard."""
    density_ST: NDArray[np.float64]
    """The same as a share of all pairs of a user and an item in the cell; NaN without pairs."""

    @classmethod
    def read(cls, dataset: Dataset, progress: Progress | None = None) -> DatasetOverview:
        """Read every shard once. `progress` is called with (stage, shards done, shards in all)."""
        rating, num_shards = dataset.manifest.rating, len(dataset.shards("users"))
        ratings, cells = RatingCounts(rating.min, rating.max), []
        for shard in range(num_shards):
            block = dataset.block("users", shard)
            ratings.add("train", block.values)
            cells.append(_count_by_shard(block.indices, dataset.shards("items")))
            ratings.add("valid", dataset.ratings("valid", shard).rating)
            ratings.add("test", dataset.ratings("test", shard).rating)
            if progress is not None:
                progress("read ratings", shard + 1, num_shards)
        cells_ST = np.stack(cells)
        activity = {side: Activity.of(dataset.num_train(side)) for side in SIDES}
        return cls(ratings, activity, cells_ST, _density(dataset, cells_ST))

    @property
    def num_ratings(self) -> int:
        """Ratings of all splits."""
        return sum(counter.total() for counter in self.ratings.by_split.values())


def balance(shards: Sequence[Shard]) -> NDArray[np.float64]:
    """Ratings of each shard as a multiple of their mean; all 0 without ratings."""
    counts = np.array([shard.num_ratings for shard in shards], np.float64)
    return counts / (counts.mean() or 1.0)


def _count_by_shard(items: NDArray[np.integer], shards: Sequence[Shard]) -> NDArray[np.int64]:
    stops = np.array([shard.stop for shard in shards])
    return np.bincount(np.searchsorted(stops, items, side="right"), minlength=len(shards))


def _density(dataset: Dataset, cells_ST: NDArray[np.int64]) -> NDArray[np.float64]:
    rows, columns = (np.array([shard.num_rows for shard in dataset.shards(side)]) for side in SIDES)
    pairs_ST = np.outer(rows, columns).astype(np.float64)
    return np.divide(cells_ST, pairs_ST, out=np.full_like(pairs_ST, np.nan), where=pairs_ST > 0)
