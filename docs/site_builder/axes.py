"""Axes of a chart: what is where, and which numbers stand beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

PADDING, MOST_TICKS = 0.12, 6
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, with the values that are written beside it."""

    low: float
    high: float
    is_log: bool
    ticks: tuple[float, ...]

    @classmethod
    def logarithmic(cls, values: Iterable[float]) -> Axis:
        """For values above 0, with room around them."""
        low, high = _ends(values)
        room = (high / low) ** PADDING if high > low else 2
        low, high = low / room, high * room
        return cls(low, high, True, _log_ticks(low, high))

    @classmethod
    def linear(cls, values: Iterable[float], *, from_zero: bool = False) -> Axis:
        """With room around the values; `from_zero`: lengths are in the proportion of the values."""
        low, high = _ends(values)
        room = PADDING * (high - low) or PADDING * abs(high) or 1.0
        low, high = (0.0 if from_zero else low - room), high + room
        step = _step((high - low) / MOST_TICKS)
        ticks = range(math.ceil(low / step), math.floor(high / step) + 1)
        return cls(low, high, False, tuple(number * step for number in ticks))

    @classmethod
    def counting(cls, values: Iterable[float]) -> Axis:
        """For a few whole numbers, each of them written."""
        ticks = tuple(sorted(set(values)))
        return cls(ticks[0] - 0.3, ticks[-1] + 0.7, False, ticks)

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _ends(values: Iterable[float]) -> tuple[float, float]:
    found = sorted(values)
    return found[0], found[-1]


def _step(least: float) -> float:
    """The least nice number that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(nice * power for nice in NICE if nice * power >= least * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        within = tuple(tick for tick in ticks if low <= tick <= high)
        if len(within) >= 3:
            return within
    return within
