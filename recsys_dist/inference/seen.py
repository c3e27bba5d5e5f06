"""What a user has rated already: the train ratings in the model folder, and those of a dataset that is named."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_dist.checkpoint.model_folder import ModelFolder
from recsys_dist.data.blocks import Block
from recsys_dist.data.dataset import SPLITS, Dataset
from recsys_dist.inference.ids import IdIndex

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Position in the list of users asked for, and item index: one entry per rating seen."""


class TrainRatings:
    """The train ratings of any users, from the blocks in the model folder; memory-mapped on a local disk."""

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._stops = np.array([shard.stop for shard in folder.manifest.user_shards])
        self._blocks: dict[int, Block] = {}

    def of_users(self, user_B: NDArray[np.int64]) -> Pairs:
        """The items that each of B users has rated; none for the unknown user."""
        shard_B = np.searchsorted(self._stops, user_B, side="right")
        known = [shard for shard in np.unique(shard_B).tolist() if shard < len(self._stops)]
        parts = [self._in_shard(shard, np.flatnonzero(shard_B == shard), user_B) for shard in known]
        empty = np.empty(0, np.int64)
        position = np.concatenate([empty, *(part[0] for part in parts)])
        return position, np.concatenate([empty, *(part[1] for part in parts)])

    def _in_shard(self, shard: int, position: NDArray[np.intp], user_B: NDArray[np.int64]) -> Pairs:
        block = self._block(shard)
        row = user_B[position] - block.start
        begin, count = block.indptr[row], block.indptr[row + 1] - block.indptr[row]
        # Entry numbers begin_r .. begin_r + count_r of all rows, one after the other.
        first = np.cumsum(count) - count
        entry = np.arange(count.sum()) + np.repeat(begin - first, count)
        return np.repeat(position, count), np.asarray(block.indices[entry], np.int64)

    def _block(self, shard: int) -> Block:
        if shard in self._blocks:
            return self._blocks[shard]
        block = self._folder.block(shard)
        if self._folder.folder.is_local:
            self._blocks[shard] = block
        return block


def rated_in_dataset(url: str, user_ids: list[str], items: IdIndex) -> Pairs:
    """The items that each user has rated in any split of the prepared dataset at `url`, by raw ids.

    Users and items that the dataset or the model does not know are passed over.
    """
    dataset = Dataset.open(url)
    dataset_users, dataset_items = IdIndex(dataset.ids("users")), IdIndex(dataset.ids("items"))
    user_B = dataset_users.find(user_ids)
    shard_B = np.searchsorted([shard.stop for shard in dataset.shards("users")], user_B, side="right")
    positions, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for position in np.flatnonzero(user_B < len(dataset_users)).tolist():
        for split in SPLITS:
            ratings = dataset.ratings(split, int(shard_B[position]))
            rated = ratings.item_index[ratings.user_index == user_B[position]]
            found.append(items.find(dataset_items.take(rated)))
            positions.append(np.full(len(rated), position))
    position_N, item_N = np.concatenate(positions), np.concatenate(found)
    known = item_N < len(items)
    return position_N[known], item_N[known]
