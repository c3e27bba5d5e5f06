"""Builds one user shard: merges its slices of all runs and resolves duplicates.

If the split does not depend on other shards, it is drawn at once (gathered.py). Otherwise the deduplicated rows
stay on scratch until it can be drawn (user_rows.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Arrays, Scratch, copy_texts, join_texts, narrow, wide_ratings
from recsys_dist.preparation.arrays.sorting import sort_pairs
from recsys_dist.preparation.parsing.rejects import Reason, Rejects
from recsys_dist.preparation.parsing.timestamps import Moments
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.duplicates import Duplicates, resolve_duplicates
from recsys_dist.preparation.shards.gathered import ShardInfo, write_collected
from recsys_dist.preparation.shards.item_ids import all_item_ids
from recsys_dist.preparation.shards.runs import bucket_of, user_order
from recsys_dist.preparation.shards.splits import Cutoffs
from recsys_dist.preparation.shards.user_rows import (
    KEPT,
    Buckets,
    Rows,
    Run,
    Settled,
    Source,
    count_buckets,
    join_settled,
    refuse_rows,
)

RUNS = "runs"


@dataclass(frozen=True)
class DeduplicatedInfo:
    """Summary of deduplicated rows for the coordinating process."""

    rejected: Counter[str]
    buckets: Buckets


def gather_shard(scratch: Scratch, shard: int, buckets: tuple[int, int], config: PrepareConfig) -> ShardInfo:
    """Merge the users in a range of buckets, and write them as one user shard.

    Raises `DataError` for a duplicate that the rules forbid.
    """
    runs, item_ids = load_runs(scratch), all_item_ids(scratch)
    settled, rejects = _settle(scratch, runs, item_ids, buckets, config)
    return write_collected(scratch, shard, settled, rejects, item_ids, runs, config.split)


def deduplicate_shard(
    scratch: Scratch, name: str, buckets: tuple[int, int], config: PrepareConfig
) -> DeduplicatedInfo:
    """Merge the users in a range of buckets, and save their deduplicated rows as the file `name`."""
    settled, rejects = _settle(scratch, load_runs(scratch), all_item_ids(scratch), buckets, config)
    return save_settled(scratch, name, settled, rejects)


def save_settled(scratch: Scratch, name: str, settled: Settled, rejects: Rejects) -> DeduplicatedInfo:
    """Save deduplicated rows as the file `name`, and the dropped rows beside it."""
    settled.save(scratch, name)
    if len(rejects):
        scratch.save(f"{name}.rejects", rejects.arrays())
    return DeduplicatedInfo(rejects.counts(), count_buckets(settled.hashes, settled.num_rows))


def split_shard(
    scratch: Scratch,
    shard: int,
    buckets: tuple[int, int],
    sources: Sequence[Source],
    cutoffs: Cutoffs | None,
    config: PrepareConfig,
) -> ShardInfo:
    """Write the saved users in a range of buckets as one user shard."""
    runs, item_ids = load_runs(scratch), all_item_ids(scratch)
    parts, drop_reasons = [], []
    for source in sources:
        part, span = Settled.load(scratch, source.name, buckets)
        parts.append(part)
        all_kept = np.full(len(part.rows.user), KEPT, np.int8)
        drop_reasons.append(
            all_kept if source.drop_reasons is None else scratch.load(source.drop_reasons)["drop_reason"][span]
        )
    settled, drop_reason = join_settled(parts), np.concatenate(drop_reasons)
    is_kept = drop_reason == KEPT
    rejects = Rejects.of([])
    if not is_kept.all():
        dropped = settled.rows.take(~is_kept)
        rejects = refuse_rows(dropped, drop_reason[~is_kept], settled.ids, item_ids, runs, config)
        settled = settled.keep(is_kept)
    return write_collected(scratch, shard, settled, rejects, item_ids, runs, config.split, cutoffs)


def load_runs(scratch: Scratch) -> list[Run]:
    """All runs in input order."""
    return [Run(**run) for run in scratch.load_json(RUNS)]


def _settle(
    scratch: Scratch,
    runs: list[Run],
    item_ids: pa.LargeStringArray,
    buckets: tuple[int, int],
    config: PrepareConfig,
) -> tuple[Settled, Rejects]:
    """The users in the range of buckets with one row per pair, and the dropped rows."""
    return deduplicate_rows(_merge(scratch, runs, buckets), runs, item_ids, config)


def deduplicate_rows(
    settled: Settled, runs: list[Run], item_ids: pa.LargeStringArray, config: PrepareConfig
) -> tuple[Settled, Rejects]:
    """Reduce unsorted rows to one row per pair, sorted; return them and the dropped rows.

    Raises `DataError` for a duplicate that the rules forbid.
    """
    pair, rows = _sort_rows(settled.rows, len(settled.ids), len(item_ids))
    settled = Settled(settled.ids, settled.hashes, rows)
    is_repeat = np.concatenate([[False], pair[1:] == pair[:-1]])
    if not is_repeat.any():
        return settled, Rejects.of([])
    if config.ratings.duplicates == "error":
        problem = _describe_repeat(rows, np.flatnonzero(is_repeat)[0], runs, settled.ids, item_ids)
        others = "last, first or mean" if config.has_ratings else "last, first or count"
        raise DataError(f"{problem}; set ratings.duplicates to {others} to accept this")
    return _drop_repeats(settled, is_repeat, runs, item_ids, config)


def _sort_rows(rows: Rows, num_users: int, num_items: int) -> tuple[NDArray[np.int64], Rows]:
    """The pair key of each row, and the rows in stable order of (user, item_code)."""
    pairs = sort_pairs(rows.user, rows.item, num_users, num_items)
    others = {name: column[pairs.order_N] for name, column in vars(rows).items() if name not in ("user", "item")}
    return pairs.key_N, Rows(user=pairs.first_N, item=narrow(pairs.second_N), **others)


def _merge(scratch: Scratch, runs: list[Run], buckets: tuple[int, int]) -> Settled:
    """The users in the range of buckets in order, with their rows from all runs, run by run."""
    return merge_slices([_slice_run(scratch, number, run, buckets) for number, run in enumerate(runs)])


def merge_slices(parts: Sequence[RunSlice]) -> Settled:
    """Users in order, with their rows from all runs, run by run."""
    ids = join_texts([part[0] for part in parts])
    hashes = np.concatenate([part[1] for part in parts])
    order = user_order(ids, hashes)
    ids, hashes = ids.take(pa.array(order)), hashes[order]
    is_new = np.ones(len(ids), bool)
    is_new[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    code = np.empty(len(ids), np.int64)
    code[order] = np.cumsum(is_new) - 1
    columns = {name: np.concatenate([part[2][name] for part in parts]) for name in parts[0][2]}
    user = np.repeat(code, columns.pop("num_rows"))
    return Settled(ids.filter(pa.array(is_new)), hashes[is_new], Rows(user=user, **columns))


RunSlice = tuple[pa.LargeStringArray, NDArray[np.uint64], Arrays]
"""Users of one run: ids, hashes, and their rows with the number of rows per user."""


def _slice_run(scratch: Scratch, number: int, run: Run, buckets: tuple[int, int]) -> RunSlice:
    """The users of one run in the range of buckets.

    Everything is copied: views would keep the whole run in memory, and there may be thousands of runs.
    """
    arrays = scratch.load(f"{run.name}.run")
    first, last = (int(edge) for edge in np.searchsorted(bucket_of(arrays["user.hash"]), buckets))
    starts = arrays["user.start"][first : last + 1]
    columns = run_rows(scratch, number, run, arrays, slice(starts[0], starts[-1]))
    columns["num_rows"] = np.diff(starts)
    return copy_texts("user", arrays, first, last), arrays["user.hash"][first:last].copy(), columns


def run_rows(
    scratch: Scratch, number: int, run: Run, arrays: Arrays, rows: slice | NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """The columns of some rows of a run, except `user`; copies."""
    item_code = scratch.load(f"{run.name}.items")["item_code"]
    line = arrays["row.line"][rows].copy()
    timestamp = np.zeros_like(line)
    if "row.timestamp" in arrays:
        nanos = arrays["row.nanos"][rows] if "row.nanos" in arrays else None
        timestamp = timestamps_of(run, Moments(arrays["row.timestamp"][rows].copy(), nanos), line)
    return {
        "item": item_code[arrays["row.item"][rows]],
        "rating": wide_ratings(arrays["row.rating"][rows]),
        "timestamp": timestamp,
        "line": line,
        "run": np.full(len(line), number, np.min_scalar_type(number)),
    }


def timestamps_of(run: Run, moments: Moments, line: NDArray[np.integer]) -> NDArray[np.int64]:
    """The timestamps of some rows of a run in the dataset's ticks.

    Raises `DataError` if one overflows; this can happen only for rows of the dataset that is appended to.
    """
    try:
        return moments.in_ticks(run.ticks)
    except OverflowError as error:
        place = error.args[0]
        raise DataError(
            f"{run.file} line {run.first_line - 1 + line[place]}: timestamp {moments.whole[place]} is too large "
            f"for the resolution of 1/{run.ticks:,} that other timestamps need; correct it or round the others"
        ) from None


def _drop_repeats(
    settled: Settled,
    is_repeat: NDArray[np.bool_],
    runs: list[Run],
    item_ids: pa.LargeStringArray,
    config: PrepareConfig,
) -> tuple[Settled, Rejects]:
    """Keep one row per pair; rows are sorted by pair and stay sorted."""
    is_shared = is_repeat.copy()
    is_shared[:-1] |= is_repeat[1:]
    shared = np.flatnonzero(is_shared)
    rows, rule = settled.rows, config.ratings.duplicates
    part = rows.take(shared)
    chosen = resolve_duplicates(
        pair=np.cumsum(~is_repeat, dtype=np.int64)[shared],
        role=np.array([run.role for run in runs], np.int8)[part.run],
        timestamp=part.timestamp,
        rating=part.rating,
        origin=part.origin,
        keep="first" if rule == "first" else "last",
    )
    if rule == "mean":
        rows.rating[shared[chosen.kept]] = chosen.mean
    elif config.ratings.adds_up:
        rows.rating[shared[chosen.kept]] = _finite_totals(chosen, part, settled.ids, item_ids)
    stays = np.ones(len(rows.user), bool)
    stays[shared[chosen.dropped]] = False
    usual = Reason.ADDED_UP if config.ratings.adds_up else Reason.DUPLICATE
    reason = np.where(chosen.is_held_out, np.int8(Reason.HELD_OUT), np.int8(usual))
    dropped = part.take(chosen.dropped)
    rejects = refuse_rows(dropped, reason, settled.ids, item_ids, runs, config)
    return Settled(settled.ids, settled.hashes, rows.take(stays)), rejects


def _finite_totals(
    chosen: Duplicates, part: Rows, user_ids: pa.LargeStringArray, item_ids: pa.LargeStringArray
) -> NDArray[np.float32]:
    """The sum of each pair. Raises `DataError` for one that overflows float32."""
    with np.errstate(over="ignore"):
        totals = chosen.total.astype(np.float32)
    too_large = np.flatnonzero(~np.isfinite(totals))
    if len(too_large):
        row = chosen.kept[too_large[0]]
        user, item = user_ids[part.user[row]].as_py(), item_ids[part.item[row]].as_py()
        raise DataError(f"the ratings of item {item!r} by user {user!r} add up to more than float32 holds")
    return totals


def _describe_repeat(
    rows: Rows, row: int, runs: list[Run], user_ids: pa.LargeStringArray, item_ids: pa.LargeStringArray
) -> str:
    places = [
        f"{runs[rows.run[at]].file} line {runs[rows.run[at]].first_line - 1 + rows.line[at]}"
        for at in (row - 1, row)
    ]
    user, item = user_ids[rows.user[row]].as_py(), item_ids[rows.item[row]].as_py()
    return f"user {user!r} rates item {item!r} twice: {places[0]} and {places[1]}"
