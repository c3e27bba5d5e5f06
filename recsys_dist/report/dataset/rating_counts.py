"""Histogram of ratings: exact for few distinct values, otherwise in equal steps of the range."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import SPLITS, Split

MOST_VALUES = 60
"""More distinct ratings than this are counted in steps."""
NUM_STEPS = 40


@dataclass
class RatingCounts:
    """Number of ratings by split and value; a step has the value of its middle."""

    low: float
    high: float
    """The end of the range that steps divide; ratings beyond it count in the outermost steps."""
    by_split: dict[Split, Counter[float]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    in_steps: bool = False

    @property
    def values(self) -> list[float]:
        """All values that occur, ascending."""
        return sorted(set().union(*self.by_split.values()))

    def add(self, split: Split, ratings: NDArray[np.float32]) -> None:
        """Count ratings of one split."""
        values, counts = np.unique(ratings, return_counts=True)
        if not self.in_steps and len(set(self.values).union(values.tolist())) > MOST_VALUES:
            self.in_steps = True
            self.by_split = {split: self._stepped(counter) for split, counter in self.by_split.items()}
        new = Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        self.by_split[split] += self._stepped(new) if self.in_steps else new

    def _stepped(self, counter: Counter[float]) -> Counter[float]:
        width = (self.high - self.low) / NUM_STEPS or 1.0
        stepped: Counter[float] = Counter()
        for value, count in counter.items():
            step = min(max(int((value - self.low) / width), 0), NUM_STEPS - 1)
            stepped[self.low + (step + 0.5) * width] += count
        return stepped
