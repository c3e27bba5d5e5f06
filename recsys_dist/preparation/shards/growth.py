"""Merges appended ratings into the user shards of a dataset.

    run.known    the user_index of each user of a run, or NEW
    settled-N    shard N with old and new ratings deduplicated; missing for a shard without new ratings
    shard-N.*    the user shard (gathered.py); its rows only if they differ from the dataset's

Ratings of the dataset are treated as rows of base runs, three for each user shard. Base runs come before the
input, so that of ratings with equal timestamps the appended one is the later. A rejected row of a base run is
identified by the ratings file, the digest of the earlier dataset, and the row number in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset, ratings_name
from recsys_dist.dataset.hashing import text_hashes
from recsys_dist.dataset.manifest import SPLITS
from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Scratch, unpack_texts
from recsys_dist.preparation.parsing.rejects import Rejects
from recsys_dist.preparation.parsing.timestamps import Moments
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.gathered import ShardInfo, draw, finish_shard, save_rows
from recsys_dist.preparation.shards.item_ids import all_item_ids
from recsys_dist.preparation.shards.merging import (
    DeduplicatedInfo,
    RunSlice,
    deduplicate_rows,
    load_runs,
    merge_slices,
    run_rows,
    save_settled,
    timestamps_of,
)
from recsys_dist.preparation.shards.runs import NUM_BUCKETS, bucket_of
from recsys_dist.preparation.shards.splits import TRAIN, Cutoffs
from recsys_dist.preparation.shards.user_rows import Buckets, Rows, Run, Settled, count_buckets, join_settled

NEW = -1
DIGEST_DIGITS = 12
"""Enough digits to distinguish datasets."""
ALL_BUCKETS = (0, NUM_BUCKETS)


@dataclass(frozen=True)
class KnownInfo:
    """The users of a run."""

    shards: NDArray[np.int64]
    """The dataset's user shards that contain its known users."""
    new: Buckets
    """The rows of its new users."""


@dataclass(frozen=True)
class GrownInfo:
    """Summary of a user shard after an append, for the coordinating process."""

    shard: ShardInfo
    is_touched: bool
    """Whether its files differ from the dataset's."""
    num_held_out: int
    """Number of the dataset's train ratings that have moved to validation or test."""


@dataclass(frozen=True)
class Part:
    """The users of one user shard: those of the dataset, new users in a range of buckets, or both."""

    shard: int
    is_old: bool
    new: tuple[int, int] | None


def base_runs(dataset: Dataset, roles: Sequence[int], ticks: int) -> list[Run]:
    """The base runs of a dataset; `roles` holds the role of each split, `ticks` is as in `Run`."""
    return [
        Run("", f"{ratings_name(split, shard)} of {dataset.digest[:DIGEST_DIGITS]}", 1, role, ticks)
        for shard in range(len(dataset.shards("users")))
        for split, role in zip(SPLITS, roles, strict=True)
    ]


def find_known(scratch: Scratch, dataset: Dataset, run: str) -> KnownInfo:
    """Look up the users of a run in the dataset."""
    arrays = scratch.load(f"{run}.run")
    ids = unpack_texts("user", arrays)
    index = np.full(len(ids), NEW, np.int64)
    for start, known in dataset.id_batches("users"):
        place = pc.fill_null(pc.index_in(ids, value_set=pc.cast(known, pa.large_string())), NEW).to_numpy()
        index[place != NEW] = place[place != NEW] + start
    scratch.save(f"{run}.known", {"user_index": index})
    is_new, num_rows = index == NEW, np.diff(arrays["user.start"])
    stops = [shard.stop for shard in dataset.shards("users")]
    shards = np.unique(np.searchsorted(stops, index[~is_new], side="right"))
    return KnownInfo(shards, count_buckets(arrays["user.hash"][is_new], num_rows[is_new]))


def deduplicate_grown(scratch: Scratch, dataset: Dataset, part: Part, config: PrepareConfig) -> DeduplicatedInfo:
    """Deduplicate the old and new ratings of the users of a shard.

    Raises `DataError` for a duplicate that the rules forbid.
    """
    runs, item_ids = load_runs(scratch), all_item_ids(scratch)
    groups = []
    if part.is_old:
        old = _old_users(dataset, part.shard, runs)
        groups.append(_added(scratch, runs, old, dataset, part.shard))
    if part.new is not None:
        groups.append(_new_users(scratch, runs, part.new))
    joined = join_settled(groups)
    if config.ratings.duplicates == "mean":
        _require_new_pairs(joined, runs, item_ids)
    return save_settled(scratch, f"settled-{part.shard}", *deduplicate_rows(joined, runs, item_ids, config))


def finish_grown(
    scratch: Scratch,
    dataset: Dataset,
    part: Part,
    is_settled: bool,
    cutoffs: Cutoffs | None,
    config: PrepareConfig,
) -> GrownInfo:
    """Split a user shard and write it; its rows only if they differ from the dataset's."""
    runs, item_ids = load_runs(scratch), all_item_ids(scratch)
    old = _old_users(dataset, part.shard, runs) if part.is_old else None
    if is_settled or old is None:
        settled, _ = Settled.load(scratch, f"settled-{part.shard}", ALL_BUCKETS)
    else:
        settled = old
    drawn = draw(settled, item_ids, runs, config.split, cutoffs)
    num_base = sum(run.is_base for run in runs)
    is_new = settled.rows.run >= num_base
    was_drawn = settled.rows.run % len(SPLITS)
    has_other_ticks = runs[0].ticks != dataset.manifest.timestamp_ticks
    is_touched = old is None or has_other_ticks or bool((is_new | (drawn.split != was_drawn)).any())
    if old is not None and is_settled and not is_touched:
        # Earlier rows may have added to the value of a pair whose latest row is the dataset's.
        is_touched = not np.array_equal(settled.rows.rating, old.rows.rating)
    if is_touched:
        save_rows(scratch, part.shard, settled, drawn.split)
        changed = _changed_items(old, settled, drawn.split, len(item_ids))
        scratch.save(f"shard-{part.shard}.changed", {"item": changed})
    held_out = 0 if old is None else _num_held_out(old, settled, drawn.split, len(item_ids))
    info = finish_shard(scratch, part.shard, settled, drawn, Rejects.of([]), len(item_ids))
    return GrownInfo(info, is_touched, held_out)


def _old_users(dataset: Dataset, shard: int, runs: Sequence[Run]) -> Settled:
    """The users of a shard of the dataset, with their ratings from all splits."""
    rows = dataset.shards("users")[shard]
    ids = pc.cast(dataset.id_slice("users", rows.start, rows.stop), pa.large_string())
    first = shard * len(SPLITS)
    parts = [_old_rows(dataset, shard, first + code, runs[first + code]) for code in range(len(SPLITS))]
    joined = Rows(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})
    order = np.lexsort([joined.item, joined.user])
    return Settled(ids, text_hashes(ids), joined.take(order))


def _old_rows(dataset: Dataset, shard: int, number: int, run: Run) -> Rows:
    """The ratings of base run `number`."""
    ratings, timestamp = dataset.timed_ratings(SPLITS[number % len(SPLITS)], shard)
    line = np.arange(1, len(ratings) + 1)
    finer = replace(run, ticks=run.ticks // dataset.manifest.timestamp_ticks)
    return Rows(
        user=ratings.user_index - dataset.shards("users")[shard].start,
        item=ratings.item_index,
        rating=ratings.rating,
        timestamp=timestamps_of(finer, Moments(timestamp), line),
        line=line,
        run=np.full(len(ratings), number),
    )


def _added(scratch: Scratch, runs: list[Run], old: Settled, dataset: Dataset, shard: int) -> Settled:
    """Append the input rows of the users `old` to their rows."""
    rows = dataset.shards("users")[shard]
    parts = [old.rows]
    for number, run in enumerate(runs):
        if run.is_base:
            continue
        index = scratch.load(f"{run.name}.known")["user_index"]
        chosen = np.flatnonzero((index >= rows.start) & (index < rows.stop))
        _, _, columns = _take_users(scratch, number, run, chosen)
        user = np.repeat(index[chosen] - rows.start, columns.pop("num_rows"))
        parts.append(Rows(user=user, **columns))
    joined = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(old.rows)}
    return Settled(old.ids, old.hashes, Rows(**joined))


def _new_users(scratch: Scratch, runs: list[Run], span: tuple[int, int]) -> Settled:
    """The new users in a range of buckets, in order."""
    parts = []
    for number, run in enumerate(runs):
        if not run.is_base:
            index = scratch.load(f"{run.name}.known")["user_index"]
            bucket = bucket_of(scratch.load(f"{run.name}.run")["user.hash"])
            chosen = np.flatnonzero((index == NEW) & (bucket >= span[0]) & (bucket < span[1]))
            parts.append(_take_users(scratch, number, run, chosen))
    return merge_slices(parts)


def _take_users(scratch: Scratch, number: int, run: Run, chosen: NDArray[np.int64]) -> RunSlice:
    """The users at the given positions of a run."""
    arrays = scratch.load(f"{run.name}.run")
    starts = arrays["user.start"]
    num_rows = np.diff(starts)[chosen]
    # The r-th row of the result is at (start of its user in the run) + (r - rows of the users chosen before it).
    rows = np.arange(num_rows.sum()) + np.repeat(starts[chosen] - (np.cumsum(num_rows) - num_rows), num_rows)
    columns = run_rows(scratch, number, run, arrays, rows)
    columns["num_rows"] = num_rows
    return unpack_texts("user", arrays).take(pa.array(chosen)), arrays["user.hash"][chosen], columns


def _require_new_pairs(joined: Settled, runs: list[Run], item_ids: pa.LargeStringArray) -> None:
    """Raise `DataError` if the input rates a pair of the dataset again: the count behind its mean is unknown."""
    rows = joined.rows
    key = rows.user * len(item_ids) + rows.item
    is_base = np.array([run.is_base for run in runs])[rows.run]
    again = np.flatnonzero(~is_base & np.isin(key, key[is_base]))
    if len(again):
        row = again[0]
        run = runs[rows.run[row]]
        user, item = joined.ids[rows.user[row]].as_py(), item_ids[rows.item[row]].as_py()
        raise DataError(
            f"{run.file} line {run.first_line - 1 + rows.line[row]}: user {user!r} has already rated item "
            f"{item!r}, and ratings.duplicates: mean needs all ratings of a pair; prepare all files again"
        )


def _keys(settled: Settled, chosen: NDArray[np.bool_], num_items: int) -> NDArray[np.int64]:
    """One integer per pair of the chosen rows, ascending."""
    keys: NDArray[np.int64] = settled.rows.user[chosen] * num_items + settled.rows.item[chosen]
    return keys


def _was_train(old: Settled) -> NDArray[np.bool_]:
    is_train: NDArray[np.bool_] = old.rows.run % len(SPLITS) == TRAIN
    return is_train


def _changed_items(
    old: Settled | None, settled: Settled, split: NDArray[np.int8], num_items: int
) -> NDArray[np.int64]:
    """The items whose train ratings by these users have changed."""
    is_train = split == TRAIN
    keys, ratings = _keys(settled, is_train, num_items), settled.rows.rating[is_train]
    if old is None:
        return np.unique(keys % num_items)
    was_train = _was_train(old)
    old_keys, old_ratings = _keys(old, was_train, num_items), old.rows.rating[was_train]
    common, here, there = np.intersect1d(keys, old_keys, assume_unique=True, return_indices=True)
    other = common[ratings[here] != old_ratings[there]]
    return np.unique(np.concatenate([np.setxor1d(keys, old_keys, assume_unique=True), other]) % num_items)


def _num_held_out(old: Settled, settled: Settled, split: NDArray[np.int8], num_items: int) -> int:
    held_out = _keys(settled, split != TRAIN, num_items)
    return int(np.isin(held_out, _keys(old, _was_train(old), num_items), assume_unique=True).sum())
