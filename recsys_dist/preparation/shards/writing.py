"""Writes the files of a dataset: first the user shards, then the item shards from pieces of all user shards."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block, write_block
from recsys_dist.dataset.dataset import Dataset, block_name, ratings_name
from recsys_dist.dataset.manifest import SPLITS, Shard
from recsys_dist.dataset.tables import index_dtype, write_ratings
from recsys_dist.preparation.arrays.scratch import Scratch, narrow, narrow_ratings, wide_ratings
from recsys_dist.preparation.arrays.sorting import sort_pairs, stable_order
from recsys_dist.preparation.shards.gathered import ShardInfo
from recsys_dist.preparation.shards.splits import TRAIN
from recsys_dist.storage.folder import FileRecord, Folder

ITEM_INDEX = "items.index"


@dataclass(frozen=True)
class Extent:
    """Rows start .. stop of one shard, and the size of the dataset."""

    start: int
    stop: int
    num_users: int
    num_items: int


def user_shards_of(collected: Sequence[ShardInfo]) -> list[Shard]:
    """The row ranges of consecutive user shards."""
    stops = np.cumsum([shard.num_users for shard in collected]).tolist()
    return [
        Shard(start=start, stop=stop, num_ratings=shard.num_ratings["train"])
        for start, stop, shard in zip([0, *stops[:-1]], stops, collected, strict=True)
    ]


def count_items(scratch: Scratch, num_shards: int) -> NDArray[np.int64]:
    """Number of train ratings of each `item_code`, over all user shards."""
    counts = (scratch.load(f"shard-{shard}.counts")["num_train"] for shard in range(num_shards))
    return functools.reduce(np.add, counts)


def extents(user_shards: Sequence[Shard], item_shards: Sequence[Shard]) -> tuple[list[Extent], list[Extent]]:
    """The extents of all user shards, and of all item shards."""
    sizes = (user_shards[-1].stop, item_shards[-1].stop)
    users, items = (
        [Extent(one.start, one.stop, *sizes) for one in shards] for shards in (user_shards, item_shards)
    )
    return users, items


def write_user_shard(
    scratch: Scratch, output: Folder, shard: int, extent: Extent, has_timestamps: bool
) -> list[FileRecord]:
    """Write the ratings files and the block of one user shard, and save its transposed block for item shards."""
    ratings = _ranked(scratch, shard, extent, has_timestamps)
    num_train = scratch.load(f"shard-{shard}.users")["user.num_train"]
    parts = [ratings.of_split(code) for code in range(len(SPLITS))]
    _, item, rating, _ = parts[TRAIN]
    block = Block(extent.start, np.concatenate([[0], np.cumsum(num_train)]), item, rating)
    # Overlap writing one file with encoding and hashing the next, and with transposing the block.
    with ThreadPoolExecutor(2) as aside:
        written = [aside.submit(write_block, output, block_name("users", shard), block)]
        for name, part in zip(SPLITS, parts, strict=True):
            written.append(aside.submit(write_ratings, output, ratings_name(name, shard), *part))
        _save_by_item(scratch, shard, block, extent.num_items)
    block_record, *records = (one.result() for one in written)
    return [*records, block_record]


@dataclass(frozen=True)
class _Ranked:
    """The ratings of one user shard, sorted by (user_index, item_index)."""

    user: NDArray[Any]
    item: NDArray[Any]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64] | None
    split: NDArray[np.int8]

    def of_split(self, code: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32], NDArray[Any] | None]:
        """Users, items, ratings and timestamps of one split."""
        rows = np.flatnonzero(self.split == code)
        timestamp = self.timestamp[rows] if self.timestamp is not None else None
        return self.user[rows], self.item[rows], self.rating[rows], timestamp


def _ranked(scratch: Scratch, shard: int, extent: Extent, has_timestamps: bool) -> _Ranked:
    """The rows of one shard, sorted by (user, item_code), sorted again by (user_index, item_index)."""
    arrays = scratch.load(f"shard-{shard}.rows")
    num_rows, item = arrays["user.num_rows"], scratch.load(ITEM_INDEX)["item_index"][arrays["row.item"]]
    row = np.repeat(np.arange(len(num_rows)), num_rows)
    _, row, item, order = sort_pairs(row, item, len(num_rows), extent.num_items)
    return _Ranked(
        user=(row + extent.start).astype(index_dtype(extent.num_users), copy=False),
        item=item.astype(index_dtype(extent.num_items), copy=False),
        rating=wide_ratings(arrays["row.rating"][order]),
        timestamp=arrays["row.timestamp"][order].astype(np.int64, copy=False) if has_timestamps else None,
        split=arrays["row.split"][order],
    )


def _save_by_item(scratch: Scratch, shard: int, block: Block, num_items: int) -> None:
    """Save the transposed block: its items, their first entries, and the rows and ratings of all entries."""
    order = stable_order(block.indices, num_items)
    counts = np.bincount(block.indices, minlength=num_items)
    items = np.flatnonzero(counts)
    row = np.repeat(narrow(np.arange(block.num_rows)), np.diff(block.indptr))
    scratch.save(
        f"shard-{shard}.pieces",
        {
            "item": items,
            "start": np.concatenate([[0], np.cumsum(counts[items])]),
            "row": row[order],
            "rating": narrow_ratings(block.values)[order],
            "first": np.array([block.start]),
        },
    )


def write_item_shard(
    scratch: Scratch, output: Folder, shard: int, extent: Extent, num_user_shards: int
) -> FileRecord:
    """Write the block of one item shard from the pieces of all user shards."""
    counts, users, ratings = _gather(scratch, extent, range(num_user_shards))
    item = np.concatenate([np.repeat(items, numbers) for items, numbers in counts])
    # Pieces come in order of users, so a stable sort by item keeps the users of each item ascending.
    order = stable_order(item - extent.start, extent.stop - extent.start)
    per_item = np.bincount(item - extent.start, minlength=extent.stop - extent.start)
    indptr = np.concatenate([[0], np.cumsum(per_item)])
    user: NDArray[Any] = np.concatenate(users)[order].astype(index_dtype(extent.num_users))
    return write_block(
        output, block_name("items", shard), Block(extent.start, indptr, user, np.concatenate(ratings)[order])
    )


def write_grown_item_shard(
    scratch: Scratch, base: Dataset, output: Folder, shard: int, extent: Extent, touched: Sequence[int]
) -> FileRecord:
    """Write the block of one item shard from the dataset's block and the pieces of changed user shards."""
    counts, users, ratings = _gather(scratch, extent, touched)
    items = [np.repeat(items, numbers) for items, numbers in counts]
    if shard < len(base.shards("items")):
        block = base.block("items", shard)
        stops = [one.stop for one in base.shards("users")]
        stays = ~np.isin(np.searchsorted(stops, block.indices, side="right"), touched)
        items.append(np.repeat(np.arange(block.start, block.stop), np.diff(block.indptr))[stays])
        users.append(block.indices[stays].astype(np.int64))
        ratings.append(block.values[stays])
    item, user = np.concatenate(items), np.concatenate(users)
    order = np.lexsort([user, item])
    per_item = np.bincount(item - extent.start, minlength=extent.stop - extent.start)
    indptr = np.concatenate([[0], np.cumsum(per_item)])
    indices: NDArray[Any] = user[order].astype(index_dtype(extent.num_users))
    values = np.concatenate(ratings)[order]
    return write_block(output, block_name("items", shard), Block(extent.start, indptr, indices, values))


def _gather(
    scratch: Scratch, extent: Extent, user_shards: Iterable[int]
) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.int64]]], list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """The items of the extent in each piece with their numbers of entries, and the entries; all copied."""
    counts, users, ratings = [], [], []
    for shard in user_shards:
        piece = scratch.load(f"shard-{shard}.pieces")
        first, last = np.searchsorted(piece["item"], [extent.start, extent.stop])
        starts = piece["start"][first : last + 1]
        counts.append((piece["item"][first:last].copy(), np.diff(starts)))
        users.append(piece["row"][starts[0] : starts[-1]].astype(np.int64) + piece["first"])
        ratings.append(wide_ratings(piece["rating"][starts[0] : starts[-1]]))
    return counts, users, ratings
