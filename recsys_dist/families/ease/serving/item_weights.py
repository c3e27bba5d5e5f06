"""B on one device: products with sparse rows of users.

B users of a batch, n items, k weights of an item, N pairs or entries
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from scipy import sparse

from recsys_dist.kernels.sparse import Csr
from recsys_dist.model_folder.tables import Table

MOST_DENSE = 8192
"""With at most so many items, B is held dense: 256 MiB."""


class ItemWeights(Protocol):
    """B, with a column for each item that is predicted."""

    def scores(self, users: Csr) -> torch.Tensor:
        """X B of the rows of X: float32 [B, n]"""


class DenseWeights:
    """B as a table [n, n] with a row for each item that a user has."""

    def __init__(self, weight_nk: torch.Tensor, source_nk: torch.Tensor | None, device: torch.device) -> None:
        if source_nk is None:
            table_nn = weight_nk
        else:
            table_nn = torch.zeros(2 * (len(weight_nk),), dtype=torch.float32, device="cpu")
            table_nn.scatter_add_(1, source_nk.long(), weight_nk)
        self._table_nn = table_nn.T.contiguous().to(device)

    def scores(self, users: Csr) -> torch.Tensor:
        """Sums of the rows of the users' items."""
        return users.weighted_sum(self._table_nn)


class SparseWeights:
    """B as a sparse matrix on the CPU, a row for each item that a user has."""

    def __init__(self, weight_nk: torch.Tensor, source_nk: torch.Tensor) -> None:
        num_items, num_kept = weight_nk.shape
        indptr = np.arange(num_items + 1, dtype=np.int64) * num_kept
        parts = weight_nk.numpy().ravel(), source_nk.numpy().ravel(), indptr
        self._by_source = sparse.csr_matrix(parts, shape=(num_items, num_items)).T.tocsr()

    def scores(self, users: Csr) -> torch.Tensor:
        """A sparse product."""
        parts = users.values.numpy(), users.indices.numpy(), users.indptr.numpy()
        rows = sparse.csr_matrix(parts, shape=(users.num_rows, users.num_columns))
        return torch.from_numpy((rows @ self._by_source).toarray())


class SparseWeightsOnGpu:
    """B as a sparse matrix on a GPU, a row for each item that is predicted."""

    def __init__(self, weight_nk: torch.Tensor, source_nk: torch.Tensor, device: torch.device) -> None:
        num_items, num_kept = weight_nk.shape
        indptr = torch.arange(num_items + 1, dtype=torch.int64, device="cpu") * num_kept
        self._by_item = torch.sparse_csr_tensor(
            indptr, source_nk.long().ravel(), weight_nk.ravel(), size=(num_items, num_items), device=device
        )

    def scores(self, users: Csr) -> torch.Tensor:
        """A product with the dense rows of the users."""
        product: torch.Tensor = (self._by_item @ dense_rows(users).T).T.contiguous()
        return product


def load_weights(table: Table, device: torch.device) -> tuple[ItemWeights, torch.Tensor, torch.Tensor | None]:
    """B in the form that suits its size; and the table itself: weight [n, k], source [n, k] or None."""
    chunks = [tensors for _, tensors in table.chunks()]
    weight_nk = torch.cat([chunk["weight"] for chunk in chunks])
    source_nk = torch.cat([chunk["source"] for chunk in chunks]) if "source" in chunks[0] else None
    weights: ItemWeights
    if source_nk is None or len(weight_nk) <= MOST_DENSE:
        weights = DenseWeights(weight_nk, source_nk, device)
    elif device.type == "cpu":
        weights = SparseWeights(weight_nk, source_nk)
    else:
        weights = SparseWeightsOnGpu(weight_nk, source_nk, device)
    return weights, weight_nk.to(device), None if source_nk is None else source_nk.to(device)


def dense_rows(users: Csr) -> torch.Tensor:
    """Sparse rows as dense ones: float32 [B, n]"""
    dense_Bn = torch.zeros((users.num_rows, users.num_columns), dtype=torch.float32, device=users.values.device)
    row_N = torch.repeat_interleave(users.indptr.diff().long())
    dense_Bn[row_N, users.indices.long()] = users.values
    return dense_Bn
