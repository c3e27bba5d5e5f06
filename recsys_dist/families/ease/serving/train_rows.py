"""The train interactions of users, from the model folder.

B users of a batch
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.loader import RowBatch, join_batches, take_rows
from recsys_dist.model_folder.folder import ModelFolder


class TrainRows:
    """Rows of train ratings, memory-mapped on a local disk."""

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._stops = np.array([shard.stop for shard in folder.manifest.user_shards])
        self._blocks: dict[int, Block] = {}

    def of_users(self, user_B: NDArray[np.int64]) -> RowBatch:
        """The ratings of users in their order; an unknown user has none."""
        shard_B = np.searchsorted(self._stops, user_B, side="right")
        order_B = np.argsort(shard_B, kind="stable")
        known = [shard for shard in np.unique(shard_B).tolist() if shard < len(self._stops)]
        rows = join_batches([self._in_shard(shard, user_B[shard_B == shard]) for shard in known])
        # Unknown users come last, with empty rows.
        indptr = np.pad(rows.indptr, (0, len(user_B) + 1 - len(rows.indptr)), mode="edge")
        return take_rows(Block(0, indptr, rows.indices, rows.values), np.argsort(order_B, kind="stable"))

    def _in_shard(self, shard: int, user_R: NDArray[np.int64]) -> RowBatch:
        if shard not in self._blocks:
            self._blocks[shard] = self._folder.block(shard)
        block = self._blocks[shard]
        return take_rows(block, user_R - block.start)
