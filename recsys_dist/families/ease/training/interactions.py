"""The interactions that a rank reads, as a sparse matrix X of values.

u users of a rank, U users in all, n items, N interactions
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.families.targets import Target

Csr = Any
"""scipy.sparse.csr_matrix, which has no annotations."""


@dataclass(frozen=True)
class Interactions:
    """Values X of users, and the weight w of each user in X^T W X."""

    value_un: Csr
    weight_u: NDArray[np.float64]

    @classmethod
    def of(cls, value_un: Csr, mean_length: float, normalization: float) -> Interactions:
        """w = (interactions of the user / mean_length)^(-2 normalization), rounded to a power of 2 times 4 .. 7.

        So the values of a user with many interactions count less each. Rounded, sums of products remain exact.
        """
        length_u = np.maximum(np.diff(value_un.indptr), 1) / mean_length
        fraction_u, exponent_u = np.frexp(length_u ** (-2 * normalization))
        return cls(value_un, np.ldexp(np.round(fraction_u * 8) / 8, exponent_u))

    def scaled(self) -> Csr:
        """sqrt(W) X: float32 [u, n]"""
        root_u = np.sqrt(self.weight_u).astype(np.float32)
        scaled_un = self.value_un.copy()
        scaled_un.data = scaled_un.data * np.repeat(root_u, np.diff(scaled_un.indptr))
        return scaled_un


def values_of(blocks: Iterable[Block], num_items: int, target: Target) -> Csr:
    """X of consecutive blocks of users: float32 [u, n], without interactions of value 0."""
    parts = [_matrix(block, num_items, target.values(block.values)) for block in blocks]
    empty = sparse.csr_matrix((0, num_items), dtype=np.float32)
    return sparse.vstack([empty, *parts], format="csr", dtype=np.float32)


def relevant_of(blocks: Iterable[Block], num_items: int, target: Target) -> Csr:
    """Which held-out interactions are relevant: float32 [u, n] of ones."""
    parts = [_matrix(block, num_items, target.is_relevant(block.values).astype(np.float32)) for block in blocks]
    empty = sparse.csr_matrix((0, num_items), dtype=np.float32)
    return sparse.vstack([empty, *parts], format="csr", dtype=np.float32)


def mean_length(dataset: Dataset) -> float:
    """Mean number of train interactions of a user."""
    return max(1.0, dataset.manifest.num_ratings["train"] / dataset.num_users)


def train_blocks(dataset: Dataset, share: range) -> list[Block]:
    """The train ratings of the user shards of `share`, memory-mapped."""
    return [dataset.block("users", shard) for shard in share]


def _matrix(block: Block, num_items: int, value_N: NDArray[np.float32]) -> Csr:
    matrix = sparse.csr_matrix((value_N, block.indices, block.indptr), shape=(block.num_rows, num_items))
    matrix.eliminate_zeros()
    return matrix
