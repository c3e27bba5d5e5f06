"""The interactions that a rank reads, as a sparse matrix X of values.

u users of a rank, U users in all, n items, N interactions
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.families.targets import Target

Csr = Any
"""scipy.sparse.csr_matrix, which has no annotations."""


def values_of(blocks: Iterable[Block], num_items: int, target: Target) -> Csr:
    """X of consecutive blocks of users: float32 [u, n], without interactions of value 0."""
    parts = [_matrix(block, num_items, target.values(block.values)) for block in blocks]
    empty = sparse.csr_matrix((0, num_items), dtype=np.float32)
    return sparse.vstack([empty, *parts], format="csr", dtype=np.float32)


def relevant_of(blocks: Iterable[Block], num_items: int, target: Target) -> Csr:
    """Which held-out interactions are relevant: float32 [u, n] of ones."""
    parts = [
        _matrix(block, num_items, (block.values >= target.relevant_from).astype(np.float32)) for block in blocks
    ]
    empty = sparse.csr_matrix((0, num_items), dtype=np.float32)
    return sparse.vstack([empty, *parts], format="csr", dtype=np.float32)


def train_blocks(dataset: Dataset, share: range) -> list[Block]:
    """The train ratings of the user shards of `share`, memory-mapped."""
    return [dataset.block("users", shard) for shard in share]


def _matrix(block: Block, num_items: int, value_N: NDArray[np.float32]) -> Csr:
    matrix = sparse.csr_matrix((value_N, block.indices, block.indptr), shape=(block.num_rows, num_items))
    matrix.eliminate_zeros()
    return matrix
