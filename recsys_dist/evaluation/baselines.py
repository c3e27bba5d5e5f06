"""The two baselines that every model has to beat: the mean, and the mean plus learnt user and item biases.

U users, I items, N ratings
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.kernels.biases import SWEEPS, Biases

Blocks = Callable[[], Iterable[Block]]
"""Returns the train ratings by user, block by block; called once per pass."""


@dataclass(frozen=True)
class BiasModel:
    """r_ui = mean + user_bias[u] + item_bias[i], with shrinkage learnt from the ratings (kernels/biases.py)."""

    mean: float
    user_bias_U: NDArray[np.float64]
    item_bias_I: NDArray[np.float64]

    @classmethod
    def fit(cls, blocks: Blocks, num_users: int, num_items: int, folded: Block | None = None) -> BiasModel:
        """Learn from the ratings, one pass over the blocks per sweep; holds the biases and one block in memory.

        `folded` holds ratings of users without a train rating, which give them a bias too.
        """
        biases = Biases(mean_rating(blocks), np.zeros(num_items))
        for _ in range(SWEEPS):
            biases = biases.after(biases.sums(blocks()))
        user_bias_U = np.zeros(num_users)
        for block in blocks():
            user_bias_U[block.start : block.stop] = biases.of_rows(block)
        if folded is not None:
            user_bias_U += biases.of_rows(folded)
        return cls(biases.mean, user_bias_U, biases.column_bias_C)

    def predict(self, user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted ratings, not clipped; an index past the last user or item has no bias: [N]"""
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
