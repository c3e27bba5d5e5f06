"""Sums of errors that add up over shards and ranks, and the division that ends them.

Sums and counts travel; `rmse` and `mae` divide once, at the very end. RMSE is the root of the mean over all
ratings, never a mean of per-user values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ErrorSums:
    """Squared and absolute errors summed over `count` ratings."""

    squared: float = 0.0
    absolute: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, predicted: NDArray[np.floating], actual: NDArray[np.floating]) -> ErrorSums:
        """Sums over two arrays of equal length, in float64."""
        error = np.asarray(predicted, np.float64) - np.asarray(actual, np.float64)
        return cls(float(error @ error), float(np.abs(error).sum()), len(error))

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(self.squared + other.squared, self.absolute + other.absolute, self.count + other.count)

    @property
    def rmse(self) -> float:
        """sqrt(sum of squares / count); NaN over no ratings."""
        return math.sqrt(self.squared / self.count) if self.count else math.nan

    @property
    def mae(self) -> float:
        """Sum of absolute errors / count; NaN over no ratings."""
        return self.absolute / self.count if self.count else math.nan
