"""Assigns ratings to train, validation and test. Codes are indices into `SPLITS`.

The split of a pair depends on its ids or its user alone and the seed, on its file, on the user's other ratings, or
on two global timestamps; it never depends on the shards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import SPLITS
from recsys_dist.preparation.settings.split import FilesSplit, LeaveNOutSplit, RandomSplit, SplitRule, UsersSplit

TRAIN, VALID, TEST = (SPLITS.index(split) for split in SPLITS)
LAST = 2**63 - 1
"""The largest timestamp."""


@dataclass(frozen=True)
class SplitKeys:
    """All pairs of some users, one entry per pair."""

    user: NDArray[np.int64]
    """Users from 0, ascending."""
    hash: NDArray[np.uint64]
    """Hashes of seed, user and item."""
    timestamp: NDArray[np.integer]
    role: NDArray[np.int8]
    """The split of the pair's file."""
    user_hash: NDArray[np.uint64]
    """Hashes of seed and user."""


@dataclass(frozen=True)
class Cutoffs:
    """Cutoffs of a split by time: later than `test_after` is test, else later than `valid_after` is valid."""

    test_after: int
    valid_after: int


def draw_split(rule: SplitRule, pairs: SplitKeys, cutoffs: Cutoffs | None = None) -> NDArray[np.int8]:
    """The split of each pair; a `TimeSplit` needs `cutoffs`."""
    match rule:
        case RandomSplit():
            return _by_hash(pairs.hash, rule.test, rule.valid)
        case FilesSplit():
            valid = 0.0 if isinstance(rule.valid, tuple) else rule.valid
            return np.where(pairs.role == TRAIN, _by_hash(pairs.hash, 0.0, valid), pairs.role)
        case LeaveNOutSplit():
            return _by_user(rule, pairs)
        case UsersSplit():
            return _by_hash(pairs.user_hash, rule.test, rule.valid)
        case _:
            assert cutoffs is not None, "a split by time needs cutoffs"
            return _by_time(pairs.timestamp, cutoffs)


def _by_hash(hashes: NDArray[np.uint64], test: float, valid: float) -> NDArray[np.int8]:
    # Below both thresholds: TEST (2); below the higher one only: VALID (1); else TRAIN (0).
    return _below(hashes, test + valid).astype(np.int8) + _below(hashes, test)


def _below(hashes: NDArray[np.uint64], fraction: float) -> NDArray[np.bool_]:
    """Whether each hash, as a fraction of 2^64, is below `fraction`."""
    is_below: NDArray[np.bool_] = hashes < np.uint64(int(fraction * 2**64))
    return is_below


def _by_user(rule: LeaveNOutSplit, pairs: SplitKeys) -> NDArray[np.int8]:
    keys = (pairs.hash, pairs.timestamp, pairs.user) if rule.by == "time" else (pairs.hash, pairs.user)
    order = np.lexsort(keys)
    num_rows = np.bincount(pairs.user)
    free = np.maximum(num_rows - rule.min_train, 0)
    test = np.minimum(rule.test, free)
    valid = np.minimum(rule.valid, free - test)
    # The number of later ratings of the same user; `order` is grouped by user as `pairs.user` is.
    after = np.cumsum(num_rows)[pairs.user] - 1 - np.arange(len(order))
    drawn = np.full(len(order), TRAIN, np.int8)
    drawn[order[after < (test + valid)[pairs.user]]] = VALID
    drawn[order[after < test[pairs.user]]] = TEST
    return drawn


def _by_time(timestamp: NDArray[np.integer], cutoffs: Cutoffs) -> NDArray[np.int8]:
    drawn = np.full(len(timestamp), TRAIN, np.int8)
    drawn[timestamp > cutoffs.valid_after] = VALID
    drawn[timestamp > cutoffs.test_after] = TEST
    return drawn


def hash_seed(rule: SplitRule) -> int:
    """The seed of the pair hashes; 0 for rules without a seed."""
    return 0 if rule.kind == "time" else rule.seed


def describe(rule: SplitRule, cutoffs: Cutoffs | None = None) -> dict[str, Any]:
    """The rule as stored in the manifest, without paths."""
    if rule.kind == "files":
        valid = "files" if isinstance(rule.valid, tuple) else rule.valid
        return {"kind": rule.kind, "valid": valid, "seed": rule.seed}
    if cutoffs is None:
        return rule.model_dump()
    ends = {"valid_from": cutoffs.valid_after, "test_from": cutoffs.test_after}
    return {**rule.model_dump(), **{key: end + 1 if end < LAST else None for key, end in ends.items()}}
