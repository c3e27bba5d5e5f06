"""Search for lambda: nDCG at 10 of withheld interactions, by closed-form models of the most popular items.

lambda = 100 * 2^(e / 2). The search climbs in steps of 4, then of 2, then of sqrt(2), and ends when all these are
worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

START = 100.0
STRIDES = (4, 2, 1)
MOST = 48
"""Largest exponent in both directions: lambda from 6e-6 to 1.7e9."""


@dataclass(frozen=True)
class LambdaSearch:
    """The exponents tried so far, with the figure of each; larger is better."""

    found: Mapping[int, float] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """The best exponent; of equal ones the nearest to the start."""
        return max(self.found, key=self._rank)

    @property
    def next(self) -> int | None:
        """The exponent to try next; None if the search is over."""
        center = 0
        for stride in STRIDES:
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
        return self.found[exponent], -abs(exponent)

    def after(self, exponent: int, figure: float) -> LambdaSearch:
        """The search with one more result."""
        return LambdaSearch({**self.found, exponent: figure})


def regularization_of(exponent: int) -> float:
    """lambda of an exponent."""
    return float(START * 2.0 ** (exponent / 2))
