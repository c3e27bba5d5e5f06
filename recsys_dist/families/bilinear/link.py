"""Output link: from scores to ratings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from recsys_dist.protocols.portable import SigmoidLink


@dataclass(frozen=True)
class OutputLink:
    """f: from scores to ratings. `identity`, or a `sigmoid` bounded by the rating range.

    The sigmoid passes through (mean, mean) with slope 1, so both agree near the mean and scores keep their units:
    f(s) = low + (high - low) sigmoid(logit(p) + (s - mean) / ((high - low) p (1 - p))), where p is the relative
    position of the mean in the range.
    """

    kind: str
    low: float
    high: float
    mean: float

    def to_ratings(self, score: torch.Tensor) -> torch.Tensor:
        """f(score), of any shape; not clipped."""
        if self._is_identity:
            return score
        place, slope = self._place_and_slope
        width = self.high - self.low
        return self.low + width * torch.sigmoid(math.log(place / (1 - place)) + (score - self.mean) * slope)

    @property
    def sigmoid(self) -> SigmoidLink | None:
        """The numbers of the sigmoid; None for the identity."""
        if self._is_identity:
            return None
        place, slope = self._place_and_slope
        intercept = math.log(place / (1 - place)) - self.mean * slope
        return SigmoidLink(self.low, self.high - self.low, intercept, slope)

    @property
    def _is_identity(self) -> bool:
        return self.kind == "identity" or self.high == self.low

    @property
    def _place_and_slope(self) -> tuple[float, float]:
        width = self.high - self.low
        # Clamp: with all ratings at one end of the range the slope would be infinite.
        place = min(max((self.mean - self.low) / width, 1e-3), 1 - 1e-3)
        return place, 1 / (width * place * (1 - place))
