"""EASE on neighbourhoods: each item is predicted from a few others alone, at the cost of their interactions.

Each column of B is a ridge regression of one item on all others. Here it is one on the item's neighbours N,

    B_Nj = (G_NN + Lambda_NN)^-1 G_Nj,    G = X^T X,

which is EASE of these items, so that with all others as neighbours it is exact. Neighbours are the items with the
largest |G_ij| / sqrt((G_ii + lambda) (G_jj + lambda)); lambda keeps items with few interactions from the top.
Lambda: penalty.py.
SANSA (Spišák et al. 2023) inverts a sparse Cholesky factor of the whole matrix approximately instead; columns
need no such factor, are independent of each other, and so are those of different ranks.

U users, n items, R items of a batch, K neighbours, N entries
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from recsys_dist.errors import TrainingError
from recsys_dist.families.ease.training.interactions import Csr
from recsys_dist.families.ease.training.penalty import Penalty

USER_ROWS = 1 << 22
"""Bound of R * U: rows of the sparse matrix of a batch."""
SYSTEM_FLOATS = 1 << 23
"""Bound of R * K * K."""
PRODUCT_ENTRIES = 1 << 23
"""Entries of a batch of rows of G, about."""
NEIGHBOR_ENTRIES = 1 << 22
"""Bound of the interactions that systems are made from at once; a single item may exceed it."""


class Neighborhoods:
    """All interactions, by user and by item."""

    def __init__(self, value_Un: Csr, penalty: Penalty, num_neighbors: int) -> None:
        self._by_user = value_Un
        self._by_item = value_Un.T.tocsr()
        self._penalty = penalty
        self.num_neighbors = min(num_neighbors, value_Un.shape[1] - 1)
        squares_n = np.asarray(self._by_item.multiply(self._by_item).sum(1)).ravel()
        self._length_n = np.diff(self._by_item.indptr).astype(np.int64)
        self._scale_n = 1 / np.sqrt(squares_n + penalty.regularization)
        length_U = np.diff(value_Un.indptr).astype(np.float64)
        self.cost_n = np.asarray((self._by_item > 0) @ length_U) + self.num_neighbors**2
        """Cost of each item: entries of its row of G, with repetitions, and its system."""

    def batches(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a range of items so that a batch fits the memory."""
        num_users, width = self._by_user.shape[0], max(1, self.num_neighbors)
        most = max(1, min(USER_ROWS // max(1, num_users), SYSTEM_FLOATS // width**2))
        for first, last in _cut(self.cost_n[start:stop], PRODUCT_ENTRIES, most):
            yield start + first, start + last

    def solve(self, start: int, stop: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours, ascending, and their weights, for a batch of items: [R, K] each.

        Where fewer than K items share a user with an item, the last ones are the item itself, with weight 0.
        """
        source_RK, right_RK, count_R = self._neighbors(start, stop)
        weight_RK = np.empty_like(right_RK)
        for first, last in _cut(self._length_n[source_RK].sum(1), NEIGHBOR_ENTRIES, len(source_RK)):
            part = slice(first, last)
            weight_RK[part] = self._weights(source_RK[part], right_RK[part], count_R[part])
        return source_RK, weight_RK

    def _weights(
        self, source_RK: NDArray[np.int32], right_RK: NDArray[np.float32], count_R: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The solutions of some systems, given their neighbours and right-hand sides: [R, K]."""
        system_RKK = self._systems(source_RK)
        is_padding_RK = torch.from_numpy(np.arange(self.num_neighbors) >= count_R[:, None])
        diagonal_RK = system_RKK.diagonal(dim1=1, dim2=2)
        diagonal_RK += self._penalty.of_squares(diagonal_RK)
        system_RKK[is_padding_RK] = 0
        system_RKK.mT[is_padding_RK] = 0
        diagonal_RK[is_padding_RK] = 1
        lower_RKK, failed_R = torch.linalg.cholesky_ex(system_RKK)
        if failed_R.any():
            raise TrainingError(
                "model.regularization is too small: X^T X + lambda I is singular in float32; raise it"
            )
        weight_RK1 = torch.cholesky_solve(torch.from_numpy(right_RK).unsqueeze(2), lower_RKK)
        weight_RK: NDArray[np.float32] = weight_RK1.squeeze(2).numpy()
        return weight_RK

    def _neighbors(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        """Neighbours [R, K], their entries of G [R, K], and how many each item has [R]."""
        gram = self._by_item[start:stop] @ self._by_user
        count_R = np.zeros(stop - start, np.int64)
        source_RK = np.repeat(np.arange(start, stop, dtype=np.int32)[:, None], self.num_neighbors, axis=1)
        right_RK = np.zeros(source_RK.shape, np.float32)
        for row in range(stop - start):
            entries = slice(gram.indptr[row], gram.indptr[row + 1])
            item_N, value_N = gram.indices[entries], gram.data[entries]
            chosen = _largest(
                item_N, value_N * self._scale_n[item_N] * (item_N != start + row), self.num_neighbors
            )
            count_R[row] = len(chosen)
            source_RK[row, : len(chosen)], right_RK[row, : len(chosen)] = item_N[chosen], value_N[chosen]
        return source_RK, right_RK, count_R

    def _systems(self, source_RK: NDArray[np.int32]) -> torch.Tensor:
        """G of the neighbours of each item: [R, K, K]"""
        num_rows, width = source_RK.shape
        num_users = self._by_user.shape[0]
        rows = self._by_item[source_RK.ravel()]
        # Every item of the batch has users of its own, so that one product gives the matrices of all.
        first_of_row = np.repeat(np.arange(num_rows, dtype=np.int64) * num_users, width)
        user_N = rows.indices + np.repeat(first_of_row, np.diff(rows.indptr))
        wide = sparse.csr_matrix((rows.data, user_N, rows.indptr), shape=(num_rows * width, num_rows * num_users))
        product = wide @ wide.T.tocsr()
        system_RKK = np.zeros((num_rows * width, width), np.float32)
        row_N = np.repeat(np.arange(num_rows * width), np.diff(product.indptr))
        system_RKK[row_N, product.indices % width] = product.data
        return torch.from_numpy(system_RKK.reshape(num_rows, width, width))


def _cut(cost_R: NDArray[np.number], most_cost: int, most_rows: int) -> Iterator[tuple[int, int]]:
    """Cut rows into ranges that cost less than `most_cost`, or are a single row."""
    start = 0
    while start < len(cost_R):
        cost = cost_R[start : start + most_rows].cumsum()
        stop = start + max(1, int(np.searchsorted(cost, most_cost)))
        yield start, stop
        start = stop


def _largest(item_N: NDArray[np.integer], value_N: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    """Positions of the `most` largest values above 0, ascending by item; ties by item."""
    positive = np.flatnonzero(value_N > 0)
    if len(positive) > most:
        least = np.partition(value_N[positive], len(positive) - most)[len(positive) - most]
        above, equal = positive[value_N[positive] > least], positive[value_N[positive] == least]
        equal = equal[np.argsort(item_N[equal], kind="stable")][: most - len(above)]
        positive = np.concatenate([above, equal])
    return positive[np.argsort(item_N[positive], kind="stable")]
