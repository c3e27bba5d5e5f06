"""Writes one user shard to scratch: its rows, their splits, and its counts.

The remaining work needs all shards, as items are ranked by the train ratings of all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.dataset.hashing import GOLDEN, mix, pair_hashes, seeded_hashes, text_hashes
from recsys_dist.dataset.manifest import SPLITS
from recsys_dist.preparation.arrays.scratch import Scratch, narrow, narrow_ratings, pack_texts
from recsys_dist.preparation.parsing.rejects import Rejects
from recsys_dist.preparation.settings.split import SplitRule
from recsys_dist.preparation.shards.splits import TRAIN, Cutoffs, SplitKeys, draw_split, hash_seed
from recsys_dist.preparation.shards.user_rows import Run, Settled


@dataclass(frozen=True)
class ShardInfo:
    """Summary of a user shard for the coordinating process."""

    num_users: int
    num_ratings: dict[str, int]
    rejected: Counter[str]
    train_sum: float
    train_min: float
    train_max: float
    fingerprint: tuple[int, ...]
    """For each split, the sum modulo 2^64 of its pairs' hashes; independent of their order."""


@dataclass(frozen=True)
class Drawn:
    """The split of each row, as an index into SPLITS, and the hash of its pair."""

    split: NDArray[np.int8]
    pair_hash: NDArray[np.uint64]


def write_collected(
    scratch: Scratch,
    shard: int,
    settled: Settled,
    rejects: Rejects,
    item_ids: pa.LargeStringArray,
    runs: Sequence[Run],
    rule: SplitRule,
    cutoffs: Cutoffs | None = None,
) -> ShardInfo:
    """Draw the split of deduplicated rows and write rows and rejects as one user shard."""
    drawn = draw(settled, item_ids, runs, rule, cutoffs)
    save_rows(scratch, shard, settled, drawn.split)
    return finish_shard(scratch, shard, settled, drawn, rejects, len(item_ids))


def draw(
    settled: Settled,
    item_ids: pa.LargeStringArray,
    runs: Sequence[Run],
    rule: SplitRule,
    cutoffs: Cutoffs | None = None,
) -> Drawn:
    """Draw the split of deduplicated rows."""
    rows, seed = settled.rows, hash_seed(rule)
    pair_hash = pair_hashes(seed, settled.hashes[rows.user], text_hashes(item_ids)[rows.item])
    role = np.array([run.role for run in runs], np.int8)[rows.run]
    user_hash = seeded_hashes(seed, settled.hashes)[rows.user]
    keys = SplitKeys(rows.user, pair_hash, rows.timestamp, role, user_hash)
    return Drawn(draw_split(rule, keys, cutoffs), pair_hash)


def finish_shard(
    scratch: Scratch, shard: int, settled: Settled, drawn: Drawn, rejects: Rejects, num_items: int
) -> ShardInfo:
    """Write the rejects and the counts of a shard, and return its summary."""
    if len(rejects):
        scratch.save(f"shard-{shard}.rejects", rejects.arrays())
    train = settled.rows.item[drawn.split == TRAIN]
    scratch.save(f"shard-{shard}.counts", {"num_train": np.bincount(train, minlength=num_items)})
    return _describe(settled, drawn.split, drawn.pair_hash, rejects)


def save_rows(scratch: Scratch, shard: int, settled: Settled, split: NDArray[np.int8]) -> None:
    """Write the users of a shard, and the rows with their splits to a second file that can be removed earlier."""
    rows, num_rows = settled.rows, settled.num_rows
    # Rows are sorted by user: differences of the cumulative train count at the end of each user.
    num_before = np.concatenate([[0], np.cumsum(split == TRAIN)])
    num_train = np.diff(num_before[np.cumsum(num_rows)], prepend=0)
    scratch.save(f"shard-{shard}.users", {**pack_texts("user", settled.ids), "user.num_train": num_train})
    scratch.save(
        f"shard-{shard}.rows",
        {
            "user.num_rows": num_rows,
            "row.item": narrow(rows.item),
            "row.rating": narrow_ratings(rows.rating),
            "row.timestamp": narrow(rows.timestamp),
            "row.split": split,
        },
    )


def _describe(
    settled: Settled, split: NDArray[np.int8], pair_hash: NDArray[np.uint64], rejects: Rejects
) -> ShardInfo:
    train = settled.rows.rating[split == TRAIN].astype(np.float64)
    fingerprint = [_sum(pair_hash[split == code]) for code in range(len(SPLITS)) if code != TRAIN]
    # Modulo 2^64, the sum of train is the total minus the other splits, which are smaller.
    fingerprint.insert(TRAIN, (_sum(pair_hash) - sum(fingerprint)) % 2**64)
    num_ratings = np.bincount(split, minlength=len(SPLITS)).tolist()
    return ShardInfo(
        num_users=len(settled.ids),
        num_ratings=dict(zip(SPLITS, num_ratings, strict=True)),
        rejected=rejects.counts(),
        train_sum=float(train.sum()),
        train_min=float(train.min(initial=np.inf)),
        train_max=float(train.max(initial=-np.inf)),
        fingerprint=tuple(fingerprint),
    )


def _sum(pair_hash: NDArray[np.uint64]) -> int:
    """The sum modulo 2^64 of the mixed hashes."""
    return int(mix(pair_hash + np.uint64(GOLDEN)).sum(dtype=np.uint64))


def split_fingerprint(shards: Sequence[ShardInfo]) -> str:
    """A hash of the pairs in each split; equal splits of equal pairs give equal hashes."""
    sums = [sum(shard.fingerprint[code] for shard in shards) % 2**64 for code in range(len(SPLITS))]
    counts = [sum(shard.num_ratings[split] for shard in shards) for split in SPLITS]
    return hashlib.sha256(repr((sums, counts)).encode()).hexdigest()
