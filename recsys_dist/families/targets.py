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
TARGETS: tuple[TargetKind, ...] = ("graded", "all", "liked")
"""In the order of trial where withheld interactions decide."""
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

    def is_relevant(self, rating_N: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each rating is relevant, as in evaluation: of at least the mean. Interactions all are. [N]"""
        if not self.has_ratings:
            return np.ones(len(rating_N), np.bool_)
        # In float32, as the ratings are: the mean of equal ratings may be off by the rounding of a sum.
        relevant_N: NDArray[np.bool_] = rating_N >= np.float32(self.mean)
        return relevant_N

    def values(self, rating_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of ratings, or of numbers of interactions: [N]"""
        return (np.round(self._grades(rating_N) * STEPS) / STEPS).astype(np.float32)

    def weights(self, rating_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same without rounding, relative to a rating of the mean, or to one interaction: [N]"""
        usual = self.mean if self.has_ratings else 1.0
        scale = self._places(np.float64(usual)) if self.kind == "graded" else 1.0
        return (self._grades(rating_N) / scale).astype(np.float32)

    def _grades(self, rating_N: NDArray[np.float32]) -> NDArray[np.float64]:
        if self.kind == "graded":
            return self._places(rating_N.astype(np.float64))
        if self.kind == "liked":
            return self.is_relevant(rating_N).astype(np.float64)
        return np.ones(len(rating_N))

    def _places(self, rating_N: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
        if self.has_ratings:
            span = self.high - self.low
            share_N = (rating_N - self.low) / span if span > 0 else np.ones_like(rating_N)
        else:
            share_N = (1 + np.log(np.maximum(rating_N, 1))) / (1 + np.log(max(self.high, 1)))
        grade_N: NDArray[np.float64] = np.clip(share_N, LEAST, 1)
        return grade_N
