"""Sums of errors over ratings, which add up over shards and ranks.

Ranks exchange sums and counts; `rmse` and `mae` divide once, at the end. RMSE is the root of the mean over all
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


@dataclass(frozen=True)
class RankingSums:
    """Recall and nDCG at some cut-off, summed over `users` ranked lists."""

    recall: float = 0.0
    ndcg: float = 0.0
    users: int = 0

    @classmethod
    def of(cls, is_hit_BN: NDArray[np.bool_], num_relevant_B: NDArray[np.integer]) -> RankingSums:
        """Sums over B lists of N places, best first. `num_relevant_B` >= 1: relevant items, in the list or not.

        recall@N = hits / relevant.  nDCG@N = DCG / the DCG of a list that begins with all relevant items, with
        DCG = sum over the places p = 1, 2, ... of hit_p / log2(p + 1)  (Järvelin & Kekäläinen 2002, binary gains).
        """
        discount_N = 1 / np.log2(np.arange(is_hit_BN.shape[1]) + 2)
        ideal_N = np.concatenate([[0.0], np.cumsum(discount_N)])
        ideal_B = ideal_N[np.minimum(num_relevant_B, len(discount_N))]
        recall_B = is_hit_BN.sum(1) / num_relevant_B
        ndcg_B = (is_hit_BN @ discount_N) / ideal_B
        return cls(float(recall_B.sum()), float(ndcg_B.sum()), len(num_relevant_B))

    def __add__(self, other: RankingSums) -> RankingSums:
        return RankingSums(self.recall + other.recall, self.ndcg + other.ndcg, self.users + other.users)

    @property
    def mean_recall(self) -> float:
        """Recall averaged over users; NaN over none."""
        return self.recall / self.users if self.users else math.nan

    @property
    def mean_ndcg(self) -> float:
        """nDCG averaged over users; NaN over none."""
        return self.ndcg / self.users if self.users else math.nan
