"""The items that users have rated: in the train ratings of the model folder, or in a prepared dataset."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SPLITS
from recsys_dist.inference.ids import IdIndex
from recsys_dist.model_folder.folder import ModelFolder

MOST_BLOCKS = 32
"""Blocks that stay mapped: of 2 million ratings at most by default, so that the items of all are 256 MB."""
SeenPairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Position in the list of requested users, and item index: one entry per seen rating."""


class TrainRatings:
    """The train ratings of users, from the blocks of the model folder; memory-mapped on a local disk.

    The blocks used last stay mapped, not all: the memory of a walk over all users does not grow with the ratings.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._stops = np.array([shard.stop for shard in folder.manifest.user_shards])
        self._block: Callable[[int], Block] = lru_cache(MOST_BLOCKS)(folder.block)

    def of_users(self, user_B: NDArray[np.int64]) -> SeenPairs:
        """The items that each of B users has rated; none for an unknown user."""
        shard_B = np.searchsorted(self._stops, user_B, side="right")
        known = [shard for shard in np.unique(shard_B).tolist() if shard < len(self._stops)]
        parts = [self._in_shard(shard, np.flatnonzero(shard_B == shard), user_B) for shard in known]
        empty = np.empty(0, np.int64)
        position = np.concatenate([empty, *(part[0] for part in parts)])
        return position, np.concatenate([empty, *(part[1] for part in parts)])

    def hold(self, user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the pair of a user and an item has a train rating: [N]. Unknown ids have none."""
        users = np.unique(user_N)
        position, item = self.of_users(users)
        # Encode each pair as one integer.
        width = 1 + max(item_N.max(initial=0), item.max(initial=0))
        held: NDArray[np.bool_] = np.isin(user_N * width + item_N, users[position] * width + item)
        return held

    def of_user(self, user: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Items and ratings of one user."""
        block = self._block(int(np.searchsorted(self._stops, user, side="right")))
        mine = slice(*block.indptr[user - block.start : user - block.start + 2].tolist())
        return block.indices[mine].astype(np.int64), block.values[mine].astype(np.float32)

    def _in_shard(self, shard: int, position: NDArray[np.intp], user_B: NDArray[np.int64]) -> SeenPairs:
        block = self._block(shard)
        row = user_B[position] - block.start
        begin, count = block.indptr[row], block.indptr[row + 1] - block.indptr[row]
        return np.repeat(position, count), np.asarray(block.indices[_entries(begin, count)], np.int64)


class DatasetRatings:
    """The ratings of users in all splits of the prepared dataset at `url`, by raw id."""

    def __init__(self, url: str, items: IdIndex) -> None:
        self._dataset = Dataset.open(url)
        self._users = IdIndex(self._dataset.ids("users"))
        self._num_items = len(items)
        # Model index of each item of the dataset
        self._item_of = items.find(self._dataset.ids("items"))

    def of_users(self, user_ids: list[str]) -> SeenPairs:
        """The items that each user has rated in any split.

        Users unknown to the dataset and items unknown to the model are skipped.
        """
        user_B = self._users.find(user_ids)
        shards = self._dataset.shards("users")
        shard_B = np.searchsorted([shard.stop for shard in shards], user_B, side="right")
        known = [shard for shard in np.unique(shard_B).tolist() if shard < len(shards)]
        parts = [self._in_shard(shard, np.flatnonzero(shard_B == shard), user_B) for shard in known]
        empty = np.empty(0, np.int64)
        position_N = np.concatenate([empty, *(part[0] for part in parts)])
        item_N = np.concatenate([empty, *(part[1] for part in parts)])
        is_known_N = item_N < self._num_items
        return position_N[is_known_N], item_N[is_known_N]

    def _in_shard(self, shard: int, position_M: NDArray[np.int64], user_B: NDArray[np.int64]) -> SeenPairs:
        positions, items = [], []
        for split in SPLITS:
            ratings = self._dataset.ratings(split, shard)
            order = np.argsort(ratings.user_index, kind="stable")
            sorted_N = ratings.user_index[order]
            begin_M = np.searchsorted(sorted_N, user_B[position_M], side="left")
            count_M = np.searchsorted(sorted_N, user_B[position_M], side="right") - begin_M
            items.append(self._item_of[ratings.item_index[order[_entries(begin_M, count_M)]]])
            positions.append(np.repeat(position_M, count_M))
        return np.concatenate(positions), np.concatenate(items)


def _entries(begin_M: NDArray[np.int64], count_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Entry numbers begin_m .. begin_m + count_m of M runs, concatenated."""
    first_M = np.cumsum(count_M) - count_M
    entries: NDArray[np.int64] = np.arange(count_M.sum()) + np.repeat(begin_M - first_M, count_M)
    return entries
