"""The two predictors that every model has to beat: the mean, and the mean plus a bias of user and item.

U users, I items, N ratings
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.data.blocks import Block

USER_REGULARIZATION = 15.0
ITEM_REGULARIZATION = 10.0
SWEEPS = 10

Blocks = Callable[[], Iterable[Block]]
"""The train ratings by user, block after block; may be asked for several times."""


@dataclass(frozen=True)
class BiasModel:
    """r_ui = mean + user_bias[u] + item_bias[i], fitted by ridge regression (Koren 2010, section 2.1)."""

    mean: float
    user_bias_U: NDArray[np.float64]
    item_bias_I: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        blocks: Blocks,
        num_users: int,
        num_items: int,
        user_regularization: float = USER_REGULARIZATION,
        item_regularization: float = ITEM_REGULARIZATION,
        sweeps: int = SWEEPS,
    ) -> BiasModel:
        """Alternate between the two sides, one pass over the blocks a sweep; holds the biases and one block."""
        mean = mean_rating(blocks)
        user_bias_U, item_bias_I = np.zeros(num_users), np.zeros(num_items)
        for _ in range(sweeps):
            residual_I, count_I = np.zeros(num_items), np.zeros(num_items)
            for block in blocks():
                count_B, residual_N = np.diff(block.indptr), block.values.astype(np.float64) - mean
                user_N = np.repeat(np.arange(block.num_rows), count_B)
                # b_u = sum over i in R(u) of (r_ui - mean - c_i) / (lambda_U + |R(u)|)
                sum_B = np.bincount(user_N, residual_N - item_bias_I[block.indices], block.num_rows)
                bias_B = sum_B / (user_regularization + count_B)
                user_bias_U[block.start : block.stop] = bias_B
                residual_I += np.bincount(block.indices, residual_N - bias_B[user_N], num_items)
                count_I += np.bincount(block.indices, minlength=num_items)
            # c_i = sum over u in R(i) of (r_ui - mean - b_u) / (lambda_I + |R(i)|)
            item_bias_I = residual_I / (item_regularization + count_I)
        return cls(mean, user_bias_U, item_bias_I)

    def predict(self, user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted ratings, not clipped; an index past the last user or item is one without a bias: [N]"""
        user_bias, item_bias = np.append(self.user_bias_U, 0.0), np.append(self.item_bias_I, 0.0)
        rating_N: NDArray[np.float64] = self.mean + user_bias[user_N] + item_bias[item_N]
        return rating_N


def mean_rating(blocks: Blocks) -> float:
    """The mean of all ratings, summed in float64."""
    total, count = 0.0, 0
    for block in blocks():
        total += float(block.values.sum(dtype=np.float64))
        count += block.num_ratings
    return total / max(1, count)
