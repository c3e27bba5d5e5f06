"""The train ratings of one rank, assigned at random to the steps of an epoch.

A rating's step depends only on the seed, the epoch and the pair: batches are the same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.kernels.keyed_random import keyed_uniform

DEALING_STREAM = 8


@dataclass(frozen=True)
class Pairs:
    """N ratings."""

    user_N: NDArray[np.int64]
    item_N: NDArray[np.int64]
    rating_N: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rating_N)

    def at(self, place: NDArray[np.int64] | slice) -> Pairs:
        """The ratings at some positions."""
        return Pairs(self.user_N[place], self.item_N[place], self.rating_N[place])


class PairBatches:
    """The ratings of this rank's users, and the batches of an epoch."""

    def __init__(self, dataset: Dataset, share: Sequence[int], batch_size: int, seed: int) -> None:
        self.num_ratings = dataset.manifest.num_ratings["train"]
        self.steps = max(1, -(-self.num_ratings // batch_size))
        """T, steps per epoch; the same on every rank."""
        self.pairs = _train_pairs(dataset, share)
        self._num_items, self._seed = dataset.num_items, seed
        self._epoch: int | None = None
        self._order_N = np.empty(0, np.int64)
        self._stops = np.empty(0, np.int64)

    def batch(self, epoch: int, step: int) -> Pairs:
        """This rank's part of a batch, in the order of users and items."""
        if epoch != self._epoch:
            self._deal(epoch)
        start = int(self._stops[step - 1]) if step else 0
        return self.pairs.at(self._order_N[start : int(self._stops[step])])

    def _deal(self, epoch: int) -> None:
        place_N = self.pairs.user_N * self._num_items + self.pairs.item_N
        step_N = (keyed_uniform((self._seed, DEALING_STREAM, epoch), place_N) * self.steps).astype(np.int32)
        self._order_N = np.argsort(step_N, kind="stable")
        self._stops = np.cumsum(np.bincount(step_N, minlength=self.steps))
        self._epoch = epoch


def _train_pairs(dataset: Dataset, share: Sequence[int]) -> Pairs:
    blocks = [dataset.block("users", shard) for shard in share]
    users = [np.repeat(np.arange(block.start, block.stop), np.diff(block.indptr)) for block in blocks]
    return Pairs(
        np.concatenate([np.empty(0, np.int64), *users]),
        np.concatenate([np.empty(0, np.int64), *(block.indices.astype(np.int64) for block in blocks)]),
        np.concatenate([np.empty(0, np.float32), *(block.values.astype(np.float32) for block in blocks)]),
    )


def valid_pairs(dataset: Dataset, share: Sequence[int]) -> Pairs:
    """The validation ratings of the users in the shards `share`."""
    parts = [dataset.ratings("valid", shard) for shard in share]
    return Pairs(
        np.concatenate([np.empty(0, np.int64), *(part.user_index.astype(np.int64) for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.item_index.astype(np.int64) for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.rating for part in parts)]),
    )
