"""Chooses which of several ratings of one item by one user to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Duplicates:
    """The outcome for rows with equal pairs; rows are positions in the arrays passed to `resolve_duplicates`."""

    kept: NDArray[np.int64]
    dropped: NDArray[np.int64]
    is_held_out: NDArray[np.bool_]
    """For each dropped row, whether it lost to a row of a test or validation file."""
    total: NDArray[np.float64]
    """For each kept row, the sum of the ratings of its pair, of the same role."""
    count: NDArray[np.int64]
    """For each kept row, the number of these ratings."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """For each kept row, the mean rating of its pair."""
        return self.total / self.count


def resolve_duplicates(
    pair: NDArray[np.int64],
    role: NDArray[np.int8],
    timestamp: NDArray[np.integer],
    rating: NDArray[np.float32],
    origin: NDArray[np.int64],
    keep: Literal["first", "last"],
) -> Duplicates:
    """Choose one row of each pair: held-out before train, then by timestamp, then by position in the input.

    `origin` is the position in the input, unique for each row.
    """
    # ~ reverses the order of integers and, unlike negation, never overflows.
    place = (origin, timestamp) if keep == "first" else (~origin, ~timestamp)
    order = np.lexsort((*place, ~role, pair))
    is_first = np.diff(pair[order], prepend=pair[order[0]] - 1) != 0
    group = np.cumsum(is_first) - 1
    first = np.flatnonzero(is_first)
    is_rival = role[order] == role[order[first]][group]
    totals = np.bincount(group, np.where(is_rival, rating[order].astype(np.float64), 0.0)).astype(np.float64)
    counts = np.bincount(group, is_rival).astype(np.int64)
    return Duplicates(order[first], order[~is_first], ~is_rival[~is_first], totals, counts)
