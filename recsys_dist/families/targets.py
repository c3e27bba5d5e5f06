"""Values of interactions: how much a rating, or a number of interactions, says that a user wants an item.

    graded   ratings: (r - min) / (max - min), at least 1/16: even an item rated lowest was chosen
             interactions: (1 + ln c) / (1 + ln max) of their number c
    liked    1 for ratings of at least the mean, 0 for others; interactions: 1
    all      1

N interactions
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import Manifest
from recsys_dist.strict_model import StrictModel

TargetKind = Literal["graded", "liked", "all"]
LEAST = 1 / 16
"""Value of the lowest rating."""
STEPS = 64
"""Values are multiples of 1/64, so that sums of products of up to 4096 of them are exact even in float32."""


class Target(StrictModel):
    """A mapping from ratings to values in [0, 1]; 0 leaves an interaction out."""

    kind: TargetKind
    has_ratings: bool
    """Whether values of the dataset are ratings; otherwise they count interactions."""
    low: float
    high: float
    mean: float

    @classmethod
    def of(cls, kind: TargetKind, manifest: Manifest) -> Target:
        """The mapping for a dataset, by the range and the mean of its train ratings."""
        rating = manifest.rating
        return cls(kind=kind, has_ratings=manifest.has_ratings, low=rating.min, high=rating.max, mean=rating.mean)

    @property
    def relevant_from(self) -> float:
        """Ratings of at least this much are relevant in a ranking, as in evaluation; interactions all are."""
        return self.mean if self.has_ratings else -np.inf

    def values(self, rating_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of ratings, or of numbers of interactions: [N]"""
        if self.kind == "graded":
            grade_N = self._grades(rating_N.astype(np.float64))
        elif self.kind == "liked" and self.has_ratings:
            grade_N = (rating_N >= self.mean).astype(np.float64)
        else:
            grade_N = np.ones(len(rating_N))
        return (np.round(grade_N * STEPS) / STEPS).astype(np.float32)

    def _grades(self, rating_N: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.has_ratings:
            span = self.high - self.low
            share_N = (rating_N - self.low) / span if span > 0 else np.ones(len(rating_N))
        else:
            share_N = (1 + np.log(np.maximum(rating_N, 1))) / (1 + np.log(max(self.high, 1)))
        grade_N: NDArray[np.float64] = np.clip(share_N, LEAST, 1)
        return grade_N
