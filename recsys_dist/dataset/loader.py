"""Batches of rows that do not depend on the number of ranks.

    B rows of a batch, N ratings of a batch, T steps of an epoch

Every shard has a permutation of its rows, drawn from (seed, epoch, shard) alone. Step t of T takes a slice of each
permutation, in proportion to the shard's size. The global batch t is the union of these slices over all shards; a
rank takes the slices of its own shards. A rank without rows in a step gets an empty batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset, Ratings
from recsys_dist.dataset.manifest import Shard, Side, Split
from recsys_dist.dataset.sharding import shards_across


@dataclass(frozen=True)
class RowBatch:
    """The train ratings of B rows as CSR; `rows` holds the dense index of each."""

    rows: NDArray[np.int64]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32] | NDArray[np.int64]
    values: NDArray[np.float32]


def shard_order(shard: int, num_rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the rows of one shard, counted from the shard's first row."""
    return np.random.default_rng((seed, epoch, shard)).permutation(num_rows)


def step_slice(shard: Shard, step: int, steps: int) -> slice:
    """The part of a shard's order that belongs to `step`; the slices of 0 .. steps - 1 are consecutive."""
    # Shards with fewer rows than steps would all fill the same few steps; an offset for each spreads them.
    offset = shard.start % steps
    return slice(
        (step * shard.num_rows + offset) // steps,
        ((step + 1) * shard.num_rows + offset) // steps,
    )


def take_rows(block: Block, rows: NDArray[np.int64]) -> RowBatch:
    """Gather rows of a block, counted from the block's first row; reads only their entries."""
    starts, counts = block.indptr[rows], block.indptr[rows + 1] - block.indptr[rows]
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    # Entry e of batch row b lies at starts[b] + (e - indptr[b]) in the block.
    entries = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], counts)
    return RowBatch(rows + block.start, indptr, block.indices[entries], block.values[entries])


def join_batches(parts: Sequence[RowBatch]) -> RowBatch:
    """Concatenate batches in order; without parts, the batch is empty."""
    if not parts:
        return RowBatch(
            np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
        )
    counts = np.concatenate([np.diff(part.indptr) for part in parts])
    return RowBatch(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


class RowLoader:
    """One rank's part of each batch: the rows of its shards, or all rows restricted to its columns."""

    def __init__(
        self, shards: Sequence[Shard], share: range, blocks: Sequence[Block], steps: int, seed: int
    ) -> None:
        self.shards, self.share, self.blocks, self.steps = shards, share, blocks, steps
        self._seed = seed
        self._epoch = -1
        self._orders: list[NDArray[np.int64]] = []

    @classmethod
    def of_rows(cls, dataset: Dataset, side: Side, share: range, steps: int, seed: int) -> RowLoader:
        """Load the shards `share` of `side`, memory-mapped."""
        blocks = [dataset.block(side, shard) for shard in share]
        return cls(dataset.shards(side), share, blocks, steps, seed)

    @classmethod
    def of_columns(
        cls, dataset: Dataset, side: Side, columns: tuple[int, int], steps: int, seed: int
    ) -> RowLoader:
        """Load all rows of `side`, restricted to `columns` (start, stop) and numbered from `start`."""
        shards, other = dataset.shards(side), other_side(side)
        share = shards_across(dataset.shards(other), *columns)
        blocks = [dataset.block(other, shard).within(*columns) for shard in share]
        return cls(shards, range(len(shards)), transposed_blocks(blocks, shards), steps, seed)

    @property
    def first_row(self) -> int:
        """The first row of the share; 0 if the share is empty."""
        return self.shards[self.share.start].start if self.share else 0

    def batch(self, epoch: int, step: int) -> RowBatch:
        """This rank's rows of the global batch `step` of `epoch`, ascending within each shard."""
        if epoch != self._epoch:
            self._orders = [
                shard_order(shard, self.shards[shard].num_rows, self._seed, epoch) for shard in self.share
            ]
            self._epoch = epoch
        parts = []
        for shard, block, order in zip(self.share, self.blocks, self._orders, strict=True):
            rows = np.sort(order[step_slice(self.shards[shard], step, self.steps)])
            parts.append(take_rows(block, rows))
        return join_batches(parts)


def other_side(side: Side) -> Side:
    """The side of the columns if the rows are of `side`."""
    return "users" if side == "items" else "items"


def transposed_blocks(columns: Sequence[Block], shards: Sequence[Shard]) -> list[Block]:
    """Transpose consecutive blocks of columns into one in-memory block of rows for each shard.

    Columns are numbered from the first column of the first block and ascend within each row.
    """
    num_rows = shards[-1].stop
    transposed = sparse.vstack(
        [sparse.csr_matrix((0, num_rows), dtype=np.float32)]
        + [
            sparse.csr_matrix((block.values, block.indices, block.indptr), shape=(block.num_rows, num_rows))
            for block in columns
        ],
        format="csr",
    ).T.tocsr()
    indptr = transposed.indptr.astype(np.int64)
    cuts = [slice(indptr[shard.start], indptr[shard.stop]) for shard in shards]
    return [
        Block(
            shard.start,
            indptr[shard.start : shard.stop + 1] - indptr[shard.start],
            transposed.indices[cut],
            transposed.data[cut],
        )
        for shard, cut in zip(shards, cuts, strict=True)
    ]


def slice_rows(block: Block, start: int, stop: int) -> RowBatch:
    """Consecutive rows of a block, counted from the block's first row; entries are views."""
    begin, end = int(block.indptr[start]), int(block.indptr[stop])
    rows = np.arange(block.start + start, block.start + stop)
    return RowBatch(
        rows, block.indptr[start : stop + 1] - begin, block.indices[begin:end], block.values[begin:end]
    )


def row_chunks(block: Block, max_rows: int, max_ratings: int) -> Iterator[tuple[int, int]]:
    """Cut a block into consecutive row ranges, each within both bounds or a single row.

    Rows are counted from the block's first row.
    """
    start = 0
    while start < block.num_rows:
        limit = block.indptr[start] + max_ratings
        within = int(np.searchsorted(block.indptr, limit, side="right")) - 1
        stop = min(max(start + 1, within), start + max_rows, block.num_rows)
        yield start, stop
        start = stop


def held_out_blocks(dataset: Dataset, split: Split, side: Side, share: range) -> list[Block]:
    """The held-out ratings of each shard in `share`, as CSR blocks like the train ratings.

    Ratings files follow the user shards. For users a rank reads only its own files; for items it reads all files
    one by one and keeps its rows.
    """
    shards = dataset.shards(side)
    if side == "users":
        return [_block_of(shards[shard], *_sides(dataset.ratings(split, shard), side)) for shard in share]
    if not share:
        return []
    own = [
        _only_rows(dataset.ratings(split, shard), side, shards[share.start].start, shards[share.stop - 1].stop)
        for shard in range(len(dataset.shards("users")))
    ]
    rows, columns, values = (np.concatenate(arrays) for arrays in zip(*own, strict=True))
    return [_block_of(shards[shard], rows, columns, values) for shard in share]


def _sides(ratings: Ratings, side: Side) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Row, column and rating, with `side` as the rows."""
    if side == "users":
        return ratings.user_index, ratings.item_index, ratings.rating
    return ratings.item_index, ratings.user_index, ratings.rating


def _only_rows(
    ratings: Ratings, side: Side, start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    rows, columns, values = _sides(ratings, side)
    keep = (rows >= start) & (rows < stop)
    return rows[keep], columns[keep], values[keep]


def _block_of(
    shard: Shard, rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float32]
) -> Block:
    """The ratings of the rows of `shard` as CSR."""
    keep = np.flatnonzero((rows >= shard.start) & (rows < shard.stop))
    keep = keep[np.lexsort([columns[keep], rows[keep]])]
    counts = np.bincount(rows[keep] - shard.start, minlength=shard.num_rows)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Block(shard.start, indptr, columns[keep], values[keep])
