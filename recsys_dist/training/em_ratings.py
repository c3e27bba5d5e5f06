"""The ratings of matrix factorization in training: one canonical user shard at a time, on the run's device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.data.dataset import Dataset
from recsys_dist.kernels.sparse import Csr, transpose


@dataclass(frozen=True)
class UserShard:
    """The train ratings of one shard less their mean, in both orientations."""

    index: int
    start: int
    ratings: Csr
    """Rows = users of this shard, columns = all items."""
    turned: Csr
    """Rows = all items, columns = users of this shard."""
    rated: torch.Tensor
    """bool [users of this shard]: has a train rating."""


@dataclass(frozen=True)
class ValidPairs:
    """The held-out ratings of one shard."""

    user_row: torch.Tensor
    """Users, counted from the first one of this rank."""
    item: torch.Tensor
    rating: NDArray[np.float32]


def read_user_shard(dataset: Dataset, index: int, device: torch.device) -> UserShard:
    """Read the train ratings of a shard and make the transpose."""
    block, num_items = dataset.block("users", index), dataset.num_items
    centred = (block.values - np.float32(dataset.manifest.rating.mean)).astype(np.float32)
    ratings = Csr.from_numpy(block.indptr, block.indices, centred, num_items, device)
    turned = transpose(block.indptr, block.indices, centred, num_items)
    return UserShard(
        index=index,
        start=block.start,
        ratings=ratings,
        turned=Csr.from_numpy(*turned, block.num_rows, device),
        rated=ratings.indptr.diff() > 0,
    )


def read_valid_pairs(dataset: Dataset, index: int, first_user: int, device: torch.device) -> ValidPairs:
    """Read the held-out ratings of a shard; `first_user` is the first one of this rank."""
    held_out = dataset.ratings("valid", index)
    user_row = torch.from_numpy(held_out.user_index - first_user).to(device)
    return ValidPairs(user_row, torch.from_numpy(held_out.item_index).to(device), held_out.rating)
