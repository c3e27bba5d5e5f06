"""Which ratings train, validate and test, and which of several ratings of the same pair counts.

A pair's fate follows from its ids, its own ratings and the seed alone. Codes are places in `SPLITS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.data.config import FilesSplit, RandomSplit
from recsys_dist.data.dataset import SPLITS

TRAIN, VALID, TEST = (SPLITS.index(split) for split in SPLITS)


def draw_split(
    rule: RandomSplit | FilesSplit, pair_hash: NDArray[np.uint64], role: NDArray[np.int8] | None
) -> NDArray[np.int8]:
    """The split of each pair. `role` is the split that the pair's file is for, with `FilesSplit`."""
    drawn = np.full(len(pair_hash), TRAIN, np.int8)
    test = rule.test if rule.kind == "random" else 0.0
    valid = 0.0 if isinstance(rule.valid, tuple) else rule.valid
    drawn[_below(pair_hash, test + valid)] = VALID
    drawn[_below(pair_hash, test)] = TEST
    return drawn if role is None else np.where(role == TRAIN, drawn, role)


def _below(hashes: NDArray[np.uint64], fraction: float) -> NDArray[np.bool_]:
    """Whether a hash, as a fraction of 2^64, is below `fraction`."""
    is_below: NDArray[np.bool_] = hashes < np.uint64(int(fraction * 2**64))
    return is_below


def describe(rule: RandomSplit | FilesSplit) -> dict[str, Any]:
    """The rule as the manifest keeps it: what decided, not where the files stood."""
    if rule.kind == "random":
        return rule.model_dump()
    valid = "files" if isinstance(rule.valid, tuple) else rule.valid
    return {"kind": rule.kind, "valid": valid, "seed": rule.seed}


@dataclass(frozen=True)
class Repeats:
    """What becomes of rows that share a pair; places are positions in the arrays given to `settle_repeats`."""

    kept: NDArray[np.int64]
    dropped: NDArray[np.int64]
    is_held_out: NDArray[np.bool_]
    """For each dropped row, whether its pair is kept by a file for testing or validation."""
    mean: NDArray[np.float64]
    """For each kept row, the mean rating of the rows it was chosen from."""


def settle_repeats(
    pair: NDArray[np.int64],
    role: NDArray[np.int8],
    timestamp: NDArray[np.int64],
    rating: NDArray[np.float32],
    origin: NDArray[np.int64],
) -> Repeats:
    """Choose one row of each pair: held out before train, then the latest, then the highest, then the first.

    `origin` orders equal rows by where they stand in the input.
    """
    order = np.lexsort((origin, -rating, ~timestamp, -role, pair))
    is_first = np.diff(pair[order], prepend=pair[order[0]] - 1) != 0
    group = np.cumsum(is_first) - 1
    first = np.flatnonzero(is_first)
    is_rival = role[order] == role[order[first]][group]
    totals = np.bincount(group, np.where(is_rival, rating[order].astype(np.float64), 0.0))
    means = totals / np.bincount(group, is_rival)
    return Repeats(order[first], order[~is_first], ~is_rival[~is_first], means)
