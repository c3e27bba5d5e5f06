"""The objective of iALS: which pairs count how much, and the penalty of each row.

    sum over interactions (u, i) of c_ui (1 - p_u . q_i)^2 + w0 x sum over all (u, i) of (p_u . q_i)^2
        + sum over u of lambda_u |p_u|^2 + sum over i of lambda_i |q_i|^2

    lambda_u = lambda (n_u + w0 I)^nu       lambda_i = lambda (n_i + w0 U)^nu

n_u is the number of interactions of a row. Weights and unobserved pairs: Hu, Koren & Volinsky 2008. This form of
the objective and its frequency-scaled penalty: Rendle, Krichene, Zhang & Koren 2022.

N interactions, R rows of one side
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys_dist.dataset.manifest import Manifest
from recsys_dist.families.ials.settings import Target
from recsys_dist.strict_model import StrictModel

LEAST_PLACE = 1 / 16
"""Place of the lowest rating in the range, so that it is an interaction, too: 1/4 of a star for 1 to 5 stars."""


class Feedback(StrictModel):
    """The weights c of ratings, for any range of ratings."""

    target: Target
    counts: bool
    """Whether values count interactions, instead of rating an item."""
    low: float
    high: float
    mean: float

    @classmethod
    def of(cls, target: Target, manifest: Manifest) -> Feedback:
        """The weights of the train ratings of a dataset."""
        rating = manifest.rating
        return cls(
            target=target, counts=not manifest.has_ratings, low=rating.min, high=rating.max, mean=rating.mean
        )

    def weights(self, rating_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """c of each rating, about 1 in the mean; 0 where the rating is no interaction: float32 [N]"""
        if self.target == "liked":
            return self.is_liked(rating_N).astype(np.float32)
        if self.target == "all" or (self.high == self.low and not self.counts):
            return np.ones(len(rating_N), np.float32)
        if self.counts:
            return (1 + np.log(np.maximum(rating_N, 1))).astype(np.float32)
        return (self._place(rating_N) / self._place(np.float32(self.mean))).astype(np.float32)

    def is_liked(self, rating_N: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each rating is at least the train mean: [N]"""
        # In float32, as the ratings are: the mean of equal ratings may be off by the rounding of a sum.
        liked_N: NDArray[np.bool_] = rating_N >= np.float32(self.mean)
        return liked_N

    def _place(self, rating_N: NDArray[np.float32] | np.float32) -> NDArray[np.float64]:
        place_N = (np.asarray(rating_N, np.float64) - self.low) / (self.high - self.low)
        return np.clip(place_N, LEAST_PLACE, 1)


class Penalty(StrictModel):
    """The weight of unobserved pairs, and the penalties of rows."""

    unobserved_weight: float = Field(gt=0)
    regularization: float = Field(gt=0)
    frequency_scaling: float = Field(ge=0, le=1)

    def of_rows(self, count_R: NDArray[np.integer], num_others: int) -> NDArray[np.float64]:
        """lambda_u of rows with so many interactions each; `num_others` rows are on the other side: float64 [R]"""
        amount_R: NDArray[np.float64] = count_R.astype(np.float64) + self.unobserved_weight * num_others
        return self.regularization * amount_R**self.frequency_scaling
