"""Search for lambda by nDCG at 10 of withheld interactions; larger is better.

lambda = 100 * 2^(e / 2). The search climbs in steps of 4, then of 2, then of sqrt(2), and ends when all these are
worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

START = 100.0
STRIDES = (4, 2, 1)
MOST = 48
"""Largest exponent in both directions: lambda from 6e-6 to 1.7e9."""


class Best(NamedTuple):
    """The best lambda, and which of the other choices was best with it."""

    regularization: float
    choice: int
    figure: float

    @classmethod
    def of(cls, regularization: float, figures: Sequence[float]) -> Best:
        """The first of the best choices at this lambda."""
        figure = max(figures)
        return cls(regularization, list(figures).index(figure), figure)


@dataclass(frozen=True)
class LambdaSearch:
    """The exponents tried so far, with the figures of the other choices at each. Immutable."""

    start: float = START
    strides: tuple[int, ...] = STRIDES
    found: Mapping[int, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: float | None) -> LambdaSearch:
        """Try `given` alone, if it is."""
        return cls() if given is None else cls(given, strides=())

    @property
    def next(self) -> float | None:
        """The lambda to try next; None if the search is over."""
        exponent = self._next_exponent
        return None if exponent is None else self.start * 2.0 ** (exponent / 2)

    def after(self, figures: Sequence[float]) -> LambdaSearch:
        """The search with the figures of the lambda that was next."""
        exponent = self._next_exponent
        assert exponent is not None, "the search is over"
        return replace(self, found={**self.found, exponent: figures})

    @property
    def best(self) -> Best:
        """The best so far; of equal ones the nearest to the start, and the first choice."""
        exponent = max(self.found, key=self._rank)
        return Best.of(self.start * 2.0 ** (exponent / 2), self.found[exponent])

    @property
    def _next_exponent(self) -> int | None:
        center = 0
        for stride in (0, *self.strides):
            while True:
                around = (center, center + stride, center - stride)
                missing = [one for one in around if one not in self.found and abs(one) <= MOST]
                if missing:
                    return missing[0]
                top = max((one for one in around if one in self.found), key=self._rank)
                if top == center:
                    break
                center = top
        return None

    def _rank(self, exponent: int) -> tuple[float, int]:
        return max(self.found[exponent]), -abs(exponent)
