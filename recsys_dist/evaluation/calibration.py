"""Calibration: how well the normal predictions of a model fit held-out ratings.

    coverage    the share of ratings within their central intervals, clipped to the range of the data
    nll         mean of -log Normal(r | m, v) = (log(2 pi v) + (r - m)^2 / v) / 2, m not clipped
    log_loss    mean of -log P(class of r) over the grid of the data's ratings; natural logarithms

N held-out ratings
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys_dist.evaluation.report import Calibration
from recsys_dist.inference.grid import Floats, RatingGrid, central_interval

COVERAGES = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class CalibrationSums:
    """Sums over `count` ratings, divided once at the end."""

    covered: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(COVERAGES), np.int64))
    """Ratings within the interval of each of `COVERAGES`."""
    nll: float = 0.0
    log_loss: float | None = 0.0
    """None without a grid."""
    count: int = 0

    @classmethod
    def of(
        cls,
        mean_N: Floats,
        std_N: Floats,
        rating_N: Floats,
        limits: tuple[float, float],
        grid: RatingGrid | None,
    ) -> CalibrationSums:
        """Sums from predictions (not clipped), their standard deviations and the true ratings."""
        intervals = (central_interval(mean_N, std_N, coverage, *limits) for coverage in COVERAGES)
        covered = [np.count_nonzero((low_N <= rating_N) & (rating_N <= high_N)) for low_N, high_N in intervals]
        variance_N = std_N.astype(np.float64) ** 2
        error_N = rating_N.astype(np.float64) - mean_N
        nll = 0.5 * float((np.log(2 * math.pi * variance_N) + error_N**2 / variance_N).sum())
        log_loss = None if grid is None else -float(grid.log_probabilities(mean_N, std_N, rating_N).sum())
        return cls(np.array(covered, np.int64), nll, log_loss, len(rating_N))

    def __add__(self, other: CalibrationSums) -> CalibrationSums:
        has_grid = self.log_loss is not None and other.log_loss is not None
        log_loss = (self.log_loss or 0.0) + (other.log_loss or 0.0) if has_grid else None
        return CalibrationSums(
            self.covered + other.covered, self.nll + other.nll, log_loss, self.count + other.count
        )

    def figures(self) -> Calibration:
        """The means, for the report; None over no ratings."""
        if not self.count:
            return Calibration(coverage={f"{c:g}": None for c in COVERAGES}, nll=None, log_loss=None, count=0)
        shares = (self.covered / self.count).tolist()
        return Calibration(
            coverage={f"{coverage:g}": share for coverage, share in zip(COVERAGES, shares, strict=True)},
            nll=self.nll / self.count,
            log_loss=None if self.log_loss is None else self.log_loss / self.count,
            count=self.count,
        )
