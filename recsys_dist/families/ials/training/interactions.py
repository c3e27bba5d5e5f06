"""The interactions of one side's rows on this rank, in batches of solves.

N interactions of a shard, R rows of this rank
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import Manifest, Side
from recsys_dist.dataset.sharding import row_ranges, share_shards
from recsys_dist.distributed.world import World
from recsys_dist.errors import DataError
from recsys_dist.families.ials.training.holdout import RankingHoldout
from recsys_dist.families.ials.training.row_batches import RowBatch, padded_batches
from recsys_dist.families.targets import Target

RATING_BYTES = 12
"""Bytes of one interaction of one side in memory: column and root of the weight, with their padding."""
KEPT_SHARE = 4
"""The interactions are kept if they take at most 1 / KEPT_SHARE of the memory limit, for each side."""


@dataclass(frozen=True)
class ShardBatches:
    """The batches of one canonical shard."""

    index: int
    batches: Sequence[RowBatch]


class SideInteractions:
    """One side: rows of this rank, and the interactions of each."""

    def __init__(
        self,
        dataset: Dataset,
        side: Side,
        world: World,
        target: Target,
        most_entries: int,
        memory_limit: int | None = None,
        holdout: RankingHoldout | None = None,
    ) -> None:
        """`most_entries` bounds a batch. With a `holdout`, only the ratings that the search trains on."""
        self._dataset, self.side, self._target, self._holdout = dataset, side, target, holdout
        self._device, self._most_entries = world.device, most_entries
        shards = dataset.shards(side)
        shares = share_shards(shards, world.size)
        self.own_shards = shares[world.rank]
        self.row_ranges = row_ranges(shards, shares)
        """The rows (start, stop) of each rank."""
        self.start, self.stop = self.row_ranges[world.rank]
        self._keeps = keeps_interactions(dataset.manifest, world.size, memory_limit)
        self._kept: list[ShardBatches] = []
        self.count_R = np.zeros(self.num_rows, np.int64)
        """Number of interactions of each row, after `read`."""

    @property
    def num_rows(self) -> int:
        """R."""
        return self.stop - self.start

    def shard_rows(self, shard: int) -> slice:
        """The rows of an own shard, relative to the first row of this rank."""
        rows = self._dataset.shards(self.side)[shard]
        return slice(rows.start - self.start, rows.stop - self.start)

    def read(self) -> None:
        """Read and count the interactions, and keep them if memory suffices. Raises `DataError` on a bad shard."""
        self._kept = []
        for index in self.own_shards:
            block, weight_N = self._interactions(index)
            self.count_R[self.shard_rows(index)] = np.diff(block.indptr)
            if self._keeps:
                self._kept.append(self._batches(index, block, weight_N))

    def groups(self) -> Iterator[Sequence[ShardBatches]]:
        """All shards at once if they are kept, else one by one."""
        if self._keeps:
            yield self._kept
            return
        for index in self.own_shards:
            yield [self._batches(index, *self._interactions(index))]

    def _batches(self, index: int, block: Block, weight_N: NDArray[np.float32]) -> ShardBatches:
        batches = padded_batches(
            block.indptr, block.indices, weight_N, block.start - self.start, self._most_entries, self._device
        )
        return ShardBatches(index, list(batches))

    def _interactions(self, index: int) -> tuple[Block, NDArray[np.float32]]:
        """The interactions of one shard, with their weights."""
        block = self._dataset.block(self.side, index)
        _require_in_range(block, self._dataset, self.side, index)
        weight_N = self._target.weights(block.values)
        chosen_N = weight_N > 0
        if self._holdout is not None:
            row_N = np.repeat(np.arange(block.start, block.stop), np.diff(block.indptr))
            pairs = (row_N, block.indices) if self.side == "users" else (block.indices, row_N)
            chosen_N &= self._holdout.is_trained(*pairs)
        return (block, weight_N) if chosen_N.all() else (block.only(chosen_N), weight_N[chosen_N])


def keeps_interactions(manifest: Manifest, num_ranks: int, memory_limit: int | None) -> bool:
    """Whether ranks keep their interactions in memory; else they read them again on every pass."""
    num_ratings = manifest.num_ratings["train"] / num_ranks
    return memory_limit is None or num_ratings * RATING_BYTES <= memory_limit / KEPT_SHARE


def _require_in_range(block: Block, dataset: Dataset, side: Side, index: int) -> None:
    limits = dataset.manifest.rating
    wrong_N = ~((block.values >= limits.min) & (block.values <= limits.max))
    if wrong_N.any():
        raise DataError(
            f"{dataset.folder.url}: {side[:-1]} shard {index} holds a rating {block.values[wrong_N][0]:g} outside "
            f"the range of the data, {limits.min:g} to {limits.max:g}; prepare the dataset again"
        )
