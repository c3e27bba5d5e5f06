"""Train ratings of matrix factorization: one canonical shard at a time, on the run's device.

Users are the side that stays, and items the one that travels (rating_matrix.py).

Some train ratings may be withheld as a tuning holdout (see families/mf/training/search.py). The draw depends only
on the seed and the shard, never on ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.errors import DataError
from recsys_dist.families.mf.ranks.rating_matrix import RatingMatrix
from recsys_dist.kernels.sparse import Csr, transpose

DENSE_SHARE = 0.25
"""Share of the items from which on the transposed ratings of a shard have a row for each item."""
HOLDOUT_STREAM = 1
"""Third seed next to seed and shard, so that the draws differ from those of the initial values."""


@dataclass(frozen=True)
class UserShard:
    """Train ratings of one shard, centred by the mean rating, in both orientations."""

    index: int
    rows: slice
    """Users of this shard, relative to the first user of this rank."""
    ratings: Csr
    """Rows = users of this shard, columns = all items."""
    items: torch.Tensor | None
    """The rows of `transposed`, ascending; None: all items."""
    transposed: Csr
    """Rows = items, columns = users of this shard."""

    def of_items(self, start: int, stop: int) -> tuple[torch.Tensor | None, Csr]:
        """The transposed ratings of items start .. stop, and their places from `start` on; None: all in order."""
        if self.items is None:
            return None, self.transposed.rows(start, stop)
        edges = self.items.new_tensor([start, stop])
        first, last = torch.searchsorted(self.items, edges).tolist()
        return self.items[first:last] - start, self.transposed.rows(first, last)


@dataclass(frozen=True)
class RatingPairs:
    """Ratings to evaluate predictions on."""

    user_row: torch.Tensor
    """Users, relative to the first user of this rank."""
    item: torch.Tensor
    rating: NDArray[np.float32]


class RatingShards:
    """This rank's shards, in order: kept in memory, or re-read on every pass if `keep` is False."""

    def __init__(
        self, matrix: RatingMatrix, own: Sequence[int], device: torch.device, seed: int, keep: bool
    ) -> None:
        self.matrix, self.own, self.keep = matrix, own, keep
        self.withheld = 0.0
        """Fraction of the train ratings that is withheld."""
        self._device, self._seed = device, seed
        self.first_row = matrix.shards[own[0]].start if own else 0
        """Index of the first user of this rank."""
        self._kept: dict[int, UserShard] = {}
        self._valid: dict[int, RatingPairs] | None = None

    @property
    def num_rows(self) -> int:
        """Number of users of this rank."""
        shards = self.matrix.shards
        return sum(shards[index].stop - shards[index].start for index in self.own)

    def row_slices(self) -> list[slice]:
        """The users of each shard, relative to the first user of this rank."""
        shards = self.matrix.shards
        return [slice(shards[i].start - self.first_row, shards[i].stop - self.first_row) for i in self.own]

    def withhold(self, share: float) -> None:
        """Withhold this fraction of the train ratings from the next pass on; 0 restores all of them."""
        self.withheld = share
        self._kept.clear()

    def read(self) -> None:
        """Read and check every shard once. Raises `DataError` on an unusable shard."""
        for _ in self:
            pass

    def __iter__(self) -> Iterator[UserShard]:
        """Every shard once."""
        for index in self.own:
            yield self._shard(index)

    def every(self, stride: int) -> Iterator[UserShard]:
        """The shards whose canonical index is a multiple of `stride`."""
        for index in self.own:
            if index % stride == 0:
                yield self._shard(index)

    def _shard(self, index: int) -> UserShard:
        if index in self._kept:
            return self._kept[index]
        shard = self._read(index)
        if self.keep:
            self._kept[index] = shard
        return shard

    def _read(self, index: int) -> UserShard:
        block, num_items = self._checked_block(index), self.matrix.num_travelling
        centred = (block.values - np.float32(self.matrix.manifest.rating.mean)).astype(np.float32, copy=False)
        indptr, indices = block.indptr, block.indices
        if self.withheld:
            trained = ~self._withheld(block, index)
            indptr = np.concatenate([[0], np.cumsum(trained)])[indptr]
            indices, centred = indices[trained], centred[trained]
        start = block.start - self.first_row
        items, rows, num_rows = _rows_of_items(indices, num_items)
        transposed = transpose(indptr, rows, centred, num_rows)
        return UserShard(
            index=index,
            rows=slice(start, start + block.num_rows),
            ratings=Csr.from_numpy(indptr, indices, centred, num_items, self._device),
            items=None if items is None else torch.from_numpy(items).to(self._device),
            transposed=Csr.from_numpy(*transposed, block.num_rows, self._device),
        )

    def withheld_pairs(self, index: int) -> RatingPairs:
        """The withheld ratings of one shard."""
        block = self._checked_block(index)
        chosen = self._withheld(block, index)
        row = np.repeat(np.arange(block.num_rows), np.diff(block.indptr))[chosen] + block.start - self.first_row
        return self._pairs(row, block.indices[chosen], block.values[chosen])

    def valid_pairs(self, index: int) -> RatingPairs:
        """The validation ratings of one own shard; all are read at the first call, and kept."""
        if self._valid is None:
            entries = self.matrix.valid(self.own)
            self._valid = {
                number: self._pairs(one.staying - self.first_row, one.travelling, one.rating)
                for number, one in zip(self.own, entries, strict=True)
            }
        return self._valid[index]

    def _pairs(
        self, row: NDArray[np.integer], item: NDArray[np.integer], rating: NDArray[np.float32]
    ) -> RatingPairs:
        row, item = row.astype(np.int64), item.astype(np.int64)
        return RatingPairs(torch.from_numpy(row).to(self._device), torch.from_numpy(item).to(self._device), rating)

    def _withheld(self, block: Block, index: int) -> NDArray[np.bool_]:
        rng = np.random.default_rng([self._seed, HOLDOUT_STREAM, index])
        chosen: NDArray[np.bool_] = rng.random(block.num_ratings) < self.withheld
        return chosen

    def _checked_block(self, index: int) -> Block:
        """Read a block and check that its ratings lie in the manifest's range."""
        block, limits = self.matrix.block(index), self.matrix.manifest.rating
        wrong = ~((block.values >= limits.min) & (block.values <= limits.max))
        if wrong.any():
            raise DataError(
                f"{self.matrix.url}: {self.matrix.name(index)} holds a rating {block.values[wrong][0]:g} outside "
                f"the range of the data, {limits.min:g} to {limits.max:g}; prepare the dataset again"
            )
        return block


def _rows_of_items(
    item_N: NDArray[np.integer], num_items: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.integer], int]:
    """The items that have a row of their own, the row of each rating, and the number of rows.

    In a catalogue of many rarely rated items, a shard has ratings of a few of them: a row for each item would cost
    shards x items.
    """
    items = np.flatnonzero(np.bincount(item_N, minlength=num_items))
    if len(items) >= DENSE_SHARE * num_items:
        return None, item_N, num_items
    row_I = np.zeros(num_items, dtype=item_N.dtype)
    row_I[items] = np.arange(len(items))
    return items, row_I[item_N], len(items)
