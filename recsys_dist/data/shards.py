"""One user shard collected: its slices of all runs merged, repeated pairs settled, each rating given its split.

What is left to do afterwards needs the other shards: items are ranked by the train ratings of all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.data.config import PrepareConfig
from recsys_dist.data.dataset import SPLITS
from recsys_dist.data.hashing import GOLDEN, mix, pair_hashes, text_hashes
from recsys_dist.data.partition import BUCKET_BITS, user_order
from recsys_dist.data.rejects import Reason, Rejects
from recsys_dist.data.scratch import Arrays, Scratch, copy_texts, join_texts, pack_texts
from recsys_dist.data.split import TRAIN, Repeats, draw_split, settle_repeats
from recsys_dist.data.vocab import all_item_ids
from recsys_dist.errors import DataError

RUNS = "runs"
RUN_LINES = 1 << 40
"""More lines than one run can have."""


@dataclass(frozen=True)
class Run:
    """One run as the shards have to know it."""

    name: str
    file: str
    first_line: int
    """Line of the file, from 1, at which the run's block begins."""
    role: int
    """The split that the file is for, as a place in SPLITS."""


@dataclass(frozen=True)
class ShardInfo:
    """What the coordinator has to know of a collected shard."""

    num_users: int
    num_ratings: dict[str, int]
    rejected: Counter[str]
    train_sum: float
    train_min: float
    train_max: float
    fingerprint: tuple[int, ...]
    """For each split the sum modulo 2^64 of a hash of its pairs, which no order changes."""


@dataclass(frozen=True)
class _Slice:
    """Rows of one shard, from one run or merged from all; `user` counts within the shard."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    line: NDArray[np.int64]
    run: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> _Slice:
        return _Slice(**{name: column[rows] for name, column in vars(self).items()})


def collect_shard(scratch: Scratch, shard: int, buckets: tuple[int, int], config: PrepareConfig) -> ShardInfo:
    """Merge the users whose hashes fall into the range of buckets, and write them as one collected shard.

    Raises `DataError` where a pair repeats and the rules forbid it.
    """
    runs = [Run(**run) for run in scratch.load_json(RUNS)]
    item_ids = all_item_ids(scratch)
    user_ids, user_hash, rows = _merge(scratch, runs, buckets)
    role = np.array([run.role for run in runs], np.int8)
    order = np.argsort(rows.user * len(item_ids) + rows.item, kind="stable")
    rows = rows.take(order)
    rejects = Rejects.of([])
    is_repeat = (np.diff(rows.user, prepend=-1) == 0) & (np.diff(rows.item, prepend=-1) == 0)
    if is_repeat.any():
        if config.ratings.duplicates == "error":
            raise DataError(_describe_repeat(rows, np.flatnonzero(is_repeat)[0], runs, user_ids, item_ids))
        rows, rejects = _settle(rows, is_repeat, runs, role, config, user_ids, item_ids)
        scratch.save(f"shard-{shard}.rejects", rejects.arrays())
    pair_hash = pair_hashes(config.split.seed, user_hash[rows.user], text_hashes(item_ids)[rows.item])
    by_file = config.split.kind == "files"
    split = draw_split(config.split, pair_hash, role[rows.run] if by_file else None)
    _save(scratch, shard, rows, split, user_ids, len(item_ids))
    return _describe(rows, split, pair_hash, len(user_ids), rejects)


def _merge(
    scratch: Scratch, runs: list[Run], buckets: tuple[int, int]
) -> tuple[pa.LargeStringArray, NDArray[np.uint64], _Slice]:
    """Ids and hashes of the shard's users in order, and their rows of all runs."""
    parts = [_slice_run(scratch, number, run, buckets) for number, run in enumerate(runs)]
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
    return ids.filter(pa.array(is_new)), hashes[is_new], _Slice(user=user, **columns)


def _slice_run(
    scratch: Scratch, number: int, run: Run, buckets: tuple[int, int]
) -> tuple[pa.LargeStringArray, NDArray[np.uint64], Arrays]:
    """Users of the range of buckets in one run: ids, hashes, and their rows with the number of rows of each.

    All of it copies: views would keep the whole run in memory, and there may be thousands of runs.
    """
    arrays = scratch.load(f"{run.name}.run")
    item_code = scratch.load(f"{run.name}.items")["item_code"]
    bucket = arrays["user.hash"] >> np.uint64(64 - BUCKET_BITS)
    first, last = (int(edge) for edge in np.searchsorted(bucket, np.array(buckets, np.uint64)))
    starts = arrays["user.start"][first : last + 1]
    rows = slice(starts[0], starts[-1])
    line = arrays["row.line"][rows].copy()
    columns: dict[str, NDArray[Any]] = {
        "num_rows": np.diff(starts),
        "item": item_code[arrays["row.item"][rows]].astype(np.int64),
        "rating": arrays["row.rating"][rows].copy(),
        "timestamp": arrays["row.timestamp"][rows].copy() if "row.timestamp" in arrays else np.zeros_like(line),
        "line": line,
        "run": np.full(len(line), number),
    }
    return copy_texts("user", arrays, first, last), arrays["user.hash"][first:last].copy(), columns


def _settle(
    rows: _Slice,
    is_repeat: NDArray[np.bool_],
    runs: list[Run],
    role: NDArray[np.int8],
    config: PrepareConfig,
    user_ids: pa.LargeStringArray,
    item_ids: pa.LargeStringArray,
) -> tuple[_Slice, Rejects]:
    """Leave one row of each pair; rows are sorted by pair and stay so."""
    is_shared = is_repeat.copy()
    is_shared[:-1] |= is_repeat[1:]
    shared = np.flatnonzero(is_shared)
    part = rows.take(shared)
    chosen = settle_repeats(
        pair=np.cumsum(~is_repeat, dtype=np.int64)[shared],
        role=role[part.run],
        timestamp=part.timestamp,
        rating=part.rating,
        origin=part.run * RUN_LINES + part.line,
    )
    if config.ratings.duplicates == "mean":
        rows.rating[shared[chosen.kept]] = chosen.mean
    stays = np.ones(len(rows.user), bool)
    stays[shared[chosen.dropped]] = False
    return rows.take(np.flatnonzero(stays)), _refuse(
        part, chosen, runs, config.input.separator, user_ids, item_ids
    )


def _refuse(
    part: _Slice,
    chosen: Repeats,
    runs: list[Run],
    separator: str,
    user_ids: pa.LargeStringArray,
    item_ids: pa.LargeStringArray,
) -> Rejects:
    """The dropped rows as rejects, their lines by run; the text is put together anew from the fields kept."""
    dropped = part.take(chosen.dropped)
    first_line = np.array([run.first_line for run in runs])
    origin = dropped.run * RUN_LINES + first_line[dropped.run] - 1 + dropped.line
    order = np.argsort(origin)
    text = pc.binary_join_element_wise(
        user_ids.take(pa.array(dropped.user)),
        item_ids.take(pa.array(dropped.item)),
        pc.cast(pa.array(dropped.rating), pa.large_string()),
        pa.scalar(separator, pa.large_string()),
    )
    reason = np.where(chosen.is_held_out, np.int8(Reason.HELD_OUT), np.int8(Reason.DUPLICATE))
    return Rejects(origin[order], reason[order], text.take(pa.array(order)))


def _describe_repeat(
    rows: _Slice, row: int, runs: list[Run], user_ids: pa.LargeStringArray, item_ids: pa.LargeStringArray
) -> str:
    places = [
        f"{runs[rows.run[at]].file} line {runs[rows.run[at]].first_line - 1 + rows.line[at]}"
        for at in (row - 1, row)
    ]
    user, item = user_ids[rows.user[row]].as_py(), item_ids[rows.item[row]].as_py()
    return (
        f"user {user!r} rates item {item!r} twice: {places[0]} and {places[1]}; "
        "ratings.duplicates: latest or mean would accept that"
    )


def _save(
    scratch: Scratch,
    shard: int,
    rows: _Slice,
    split: NDArray[np.int8],
    user_ids: pa.LargeStringArray,
    num_items: int,
) -> None:
    is_train = split == TRAIN
    scratch.save(
        f"shard-{shard}.rows",
        {
            **pack_texts("user", user_ids),
            "user.num_train": np.bincount(rows.user[is_train], minlength=len(user_ids)),
            "user.num_rows": np.bincount(rows.user, minlength=len(user_ids)),
            "row.item": rows.item,
            "row.rating": rows.rating,
            "row.timestamp": rows.timestamp,
            "row.split": split,
        },
    )
    scratch.save(f"shard-{shard}.counts", {"num_train": np.bincount(rows.item[is_train], minlength=num_items)})


def _describe(
    rows: _Slice, split: NDArray[np.int8], pair_hash: NDArray[np.uint64], num_users: int, rejects: Rejects
) -> ShardInfo:
    train = rows.rating[split == TRAIN].astype(np.float64)
    sums = [
        int(mix(pair_hash[split == code] + np.uint64(GOLDEN)).sum(dtype=np.uint64)) for code in range(len(SPLITS))
    ]
    return ShardInfo(
        num_users=num_users,
        num_ratings={name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        rejected=rejects.counts(),
        train_sum=float(train.sum()),
        train_min=float(train.min(initial=np.inf)),
        train_max=float(train.max(initial=-np.inf)),
        fingerprint=tuple(sums),
    )


def split_fingerprint(shards: list[ShardInfo]) -> str:
    """A hash of which pairs train, validate and test; the same split of the same pairs gives the same one."""
    sums = [sum(shard.fingerprint[code] for shard in shards) % 2**64 for code in range(len(SPLITS))]
    counts = [sum(shard.num_ratings[split] for shard in shards) for split in SPLITS]
    return hashlib.sha256(repr((sums, counts)).encode()).hexdigest()
