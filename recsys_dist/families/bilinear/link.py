"""Output link: from scores to ratings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


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
        width = self.high - self.low
        if self.kind == "identity" or width == 0:
            return score
        # Clamp: with all ratings at one end of the range the slope would be infinite.
        place = min(max((self.mean - self.low) / width, 1e-3), 1 - 1e-3)
        slope = 1 / (width * place * (1 - place))
        return self.low + width * torch.sigmoid(math.log(place / (1 - place)) + (score - self.mean) * slope)
