"""Writes parsed blocks as runs: rows sorted by user on disk, so that a user shard is a slice of each run.

Users are ordered by (hash of the id, id). A run is CSR in that order: user ids and hashes, the first row of each
user, and the rows, with items coded by the run's own dictionary. The order is the same in all runs and does not
depend on their number; a user shard is a range of hashes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.dataset.hashing import text_hashes
from recsys_dist.preparation.arrays.scratch import Arrays, Scratch, narrow, narrow_ratings, pack_texts
from recsys_dist.preparation.arrays.sorting import stable_order
from recsys_dist.preparation.parsing.rows import ParsedBlock, Rows
from recsys_dist.preparation.parsing.timestamps import Moments

BUCKET_BITS = 16
NUM_BUCKETS = 1 << BUCKET_BITS
"""Hash ranges in which rows are counted; user shards are cut at their boundaries."""


@dataclass(frozen=True)
class RunInfo:
    """Summary of a run for the coordinating process."""

    name: str
    num_lines: int
    num_read: int
    rejected: Counter[str]
    first_reject: tuple[int, str, str] | None
    """(line within the block, reason, text)"""
    buckets: NDArray[np.int64]
    """The non-empty hash ranges; the next field holds their numbers of rows."""
    bucket_rows: NDArray[np.int64]
    ticks: int = 1
    """Ticks per unit that represent all timestamps exactly."""
    times: tuple[int, int] | None = None
    """The smallest and largest timestamp in whole units; None without timestamps."""

    def fits(self, ticks: int) -> bool:
        """Whether no timestamp overflows at `ticks` per unit."""
        return self.times is None or bool(Moments(np.array(self.times)).fits(ticks).all())


def write_run(scratch: Scratch, name: str, block: ParsedBlock) -> RunInfo:
    """Sort a block's rows by user and write them, with the rejects, as the run `name`."""
    arrays, hashes, rows_per_user = _sorted_run(block.rows)
    scratch.save(f"{name}.run", arrays)
    if len(block.rejects):
        scratch.save(f"{name}.rejects", block.rejects.arrays())
    buckets, position = np.unique(bucket_of(hashes), return_inverse=True)
    bucket_rows = np.bincount(position, rows_per_user, len(buckets)).astype(np.int64)
    moments = Moments(block.rows.timestamp, block.rows.nanos) if block.rows.timestamp is not None else None
    return RunInfo(
        name=name,
        num_lines=block.num_lines,
        num_read=block.num_read,
        rejected=block.rejects.counts(),
        first_reject=block.rejects.first(),
        buckets=buckets,
        bucket_rows=bucket_rows,
        ticks=moments.ticks if moments is not None else 1,
        times=moments.span if moments is not None else None,
    )


def bucket_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The hash range of each hash: its highest bits."""
    return (hashes >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)


def _sorted_run(rows: Rows) -> tuple[Arrays, NDArray[np.uint64], NDArray[np.int64]]:
    """The arrays of a run, the hashes of its users and their numbers of rows."""
    user_ids, user_hash, user_code = _ordered_users(rows.user)
    by_user = stable_order(user_code, len(user_ids))
    rows_per_user = np.bincount(user_code, minlength=len(user_ids))
    item_ids, item_code = _used_values(rows.item)
    arrays: dict[str, NDArray[Any]] = {
        **pack_texts("user", user_ids),
        "user.hash": user_hash,
        "user.start": np.concatenate([[0], np.cumsum(rows_per_user)]),
        **pack_texts("item", item_ids),
        "row.item": narrow(item_code)[by_user],
        "row.rating": narrow_ratings(rows.rating)[by_user],
        "row.line": narrow(rows.line)[by_user],
    }
    if rows.timestamp is not None:
        arrays["row.timestamp"] = narrow(rows.timestamp)[by_user]
    if rows.nanos is not None:
        arrays["row.nanos"] = rows.nanos[by_user]
    return arrays, user_hash, rows_per_user


def _ordered_users(users: pa.DictionaryArray) -> tuple[pa.LargeStringArray, NDArray[np.uint64], NDArray[np.int32]]:
    """Distinct user ids in order, their hashes, and each row's position among them."""
    ids, code = _used_values(users)
    hashes = text_hashes(ids)
    order = user_order(ids, hashes)
    place = np.empty(len(ids), np.int32)
    place[order] = np.arange(len(ids), dtype=np.int32)
    return ids.take(pa.array(order)), hashes[order], place[code]


def user_order(ids: pa.LargeStringArray, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The permutation that sorts ids in the order of users."""
    table = pa.table({"hash": hashes, "id": ids})
    order: NDArray[np.int64] = pc.sort_indices(
        table, sort_keys=[("hash", "ascending"), ("id", "ascending")]
    ).to_numpy()
    return order.astype(np.int64)


def _used_values(column: pa.DictionaryArray) -> tuple[pa.LargeStringArray, NDArray[np.int32]]:
    """The values in use, and each row's position among them; rejected rows leave unused values."""
    codes = column.indices.to_numpy()
    is_used = np.bincount(codes, minlength=len(column.dictionary)) > 0
    values = pc.cast(column.dictionary, pa.large_string())
    if is_used.all():
        return values, codes.astype(np.int32, copy=False)
    place = np.cumsum(is_used, dtype=np.int32) - 1
    return values.filter(pa.array(is_used)), place[codes].astype(np.int32, copy=False)


def cut_evenly(weights: NDArray[np.int64], num_parts: int) -> NDArray[np.int64]:
    """Bounds [parts + 1] of consecutive non-empty ranges of about equal weight.

    With fewer entries than parts, each entry is a part. Uses exact integers, so the result is the same everywhere.
    """
    num_parts = max(1, min(num_parts, len(weights)))
    edges = np.concatenate([[0], np.cumsum(weights)])
    targets = edges[-1] * np.arange(num_parts + 1) // num_parts
    above = np.clip(np.searchsorted(edges, targets), 1, len(weights))
    is_below_nearer = targets - edges[above - 1] < edges[above] - targets
    cuts = np.where(is_below_nearer, above - 1, above)
    cuts[0], cuts[-1] = 0, len(weights)
    part = np.arange(num_parts + 1)
    cuts = np.maximum.accumulate(cuts - part) + part
    bounds: NDArray[np.int64] = np.minimum(cuts, len(weights) - num_parts + part)
    return bounds
