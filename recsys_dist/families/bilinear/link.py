"""From scores to ratings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class OutputLink:
    """f: from scores to ratings. `identity`, or a `sigmoid` that stays within the rating range.

    The sigmoid passes through (mean, mean) with slope 1, so that near the mean both agree and a score keeps its
    units: f(s) = low + (high - low) sigmoid(logit(p) + (s - mean) / ((high - low) p (1 - p))), with p the place of
    the mean in the range.
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
        # All ratings at one end of the range leave no slope to match.
        place = min(max((self.mean - self.low) / width, 1e-3), 1 - 1e-3)
        slope = 1 / (width * place * (1 - place))
        return self.low + width * torch.sigmoid(math.log(place / (1 - place)) + (score - self.mean) * slope)
