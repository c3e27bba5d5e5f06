"""Finds the cutoffs of a split by time: exact ranks among the timestamps of all shards, in bounded memory.

Each shard sorts its timestamps once. A rank is found by a search with thousands of candidates per step: all shards
count the later timestamps of each candidate, and the search continues between the two that enclose the rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.settings.split import TimeSplit
from recsys_dist.preparation.shards.splits import LAST, Cutoffs
from recsys_dist.preparation.shards.user_rows import KEPT, Source

CANDIDATES = 1 << 12
CountLater = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""From timestamps to the number of ratings later than each."""


@dataclass(frozen=True)
class TimeSpan:
    """Number, first and last of the timestamps of one shard."""

    count: int
    first: int
    last: int


def sort_times(scratch: Scratch, source: Source, target: str) -> TimeSpan:
    """Write the sorted timestamps of the kept rows as the file `target`."""
    times = scratch.load(source.name)["row.timestamp"]
    if source.drop_reasons is not None:
        times = times[scratch.load(source.drop_reasons)["drop_reason"] == KEPT]
    times = np.sort(times)
    scratch.save(target, {"time": times})
    return TimeSpan(len(times), int(times[0]), int(times[-1])) if len(times) else TimeSpan(0, 0, 0)


def count_later(scratch: Scratch, name: str, timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `timestamps`, the number of later ones in the file `name`."""
    times = scratch.load(name)["time"]
    return (len(times) - np.searchsorted(times, timestamps, side="right")).astype(np.int64)


@dataclass(frozen=True)
class Times:
    """The timestamps of all ratings: number, first, last, and a function that counts later ones."""

    count: int
    first: int
    last: int
    count_later: CountLater

    def later(self, timestamp: int) -> int:
        """The number of ratings later than `timestamp`."""
        return int(self.count_later(np.array([timestamp], np.int64))[0])

    def cut(self, at_most: int) -> tuple[int, int]:
        """The earliest timestamp with at most `at_most` later ratings, and their number."""
        if at_most >= self.count:
            return self.first - 1, self.count
        low, high, above = self.first - 1, self.last, 0
        # Invariant: more than at_most ratings are later than low; `above` <= at_most are later than high.
        while high - low > 1:
            step = -(-(high - low) // CANDIDATES)
            candidates = [*range(low + step, high, step)]
            counts = self.count_later(np.array(candidates, np.int64)).tolist()
            fits = next((place for place, count in enumerate(counts) if count <= at_most), len(counts))
            if fits < len(counts):
                high, above = candidates[fits], counts[fits]
            if fits:
                low = candidates[fits - 1]
        return high, above


def find_cutoffs(rule: TimeSplit, times: Times, ticks: int = 1) -> Cutoffs:
    """The cutoffs of a split by time; timestamps have `ticks` per unit of the rule.

    Raises `DataError` if the train split would be empty, or a requested test or validation split.
    """
    test_from, valid_from = _in_ticks(rule.test_from, ticks), _in_ticks(rule.valid_from, ticks)
    test_after, num_test = _cut(times, "test", rule.test, test_from, LAST, 0)
    valid_after, num_later = _cut(times, "valid", rule.valid, valid_from, test_after, num_test)
    if num_later >= times.count:
        raise DataError(
            f"the split leaves no ratings to train on: timestamps range from {times.first} to {times.last}"
        )
    return Cutoffs(test_after, valid_after)


def _in_ticks(start: int | None, ticks: int) -> int | None:
    """Convert a timestamp of the rule to ticks, at most `LAST`."""
    return None if start is None else min(max(start * ticks, -LAST), LAST)


def _cut(times: Times, name: str, fraction: float, start: int | None, end: int, num_later: int) -> tuple[int, int]:
    """The cutoff of the split `name`, whose ratings end at `end`, and the number of ratings later than the cutoff.

    `num_later` is the number of ratings later than `end`.
    """
    if start is None and fraction == 0:
        return end, num_later
    if start is not None:
        after = min(start - 1, end)
        count = times.later(after)
        problem = f"no rating, or only test ratings, from split.{name}_from {start} on"
    else:
        wanted = int(fraction * times.count)
        after, count = times.cut(num_later + wanted)
        problem = (
            f"{fraction:g} of {times.count:,} ratings are {wanted:,}, but more share the timestamp {after}, "
            "and equal timestamps stay together"
        )
    if count == num_later:
        raise DataError(f"split.{name} gets no ratings: {problem}; the last timestamp is {times.last}")
    return after, count
