"""Products of a sparse matrix of ratings with dense tables, at the cost of its entries.

    R rows, C columns, N entries, X width of a dense table

A gather is `torch.nn.functional.embedding_bag`, which runs at memory speed on the CPU and on CUDA. Every tensor
stays on the device of its matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True)
class Csr:
    """A CSR matrix of ratings [R, C] on one device. `indptr` and `indices` share their dtype, int32 or int64."""

    indptr: torch.Tensor
    indices: torch.Tensor
    values: torch.Tensor
    num_columns: int

    @classmethod
    def from_numpy(
        cls,
        indptr: NDArray[np.integer],
        indices: NDArray[np.integer],
        values: NDArray[np.float32],
        num_columns: int,
        device: torch.device,
    ) -> Csr:
        """Copy a CSR matrix to `device`; indices narrow to int32 wherever entries and columns allow it."""
        wide = max(len(values), num_columns) >= 2**31
        dtype = np.int64 if wide else np.int32
        return cls(
            torch.from_numpy(indptr.astype(dtype)).to(device),
            torch.from_numpy(indices.astype(dtype)).to(device),
            torch.from_numpy(values.astype(np.float32)).to(device),
            num_columns,
        )

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.indptr) - 1

    @property
    def num_entries(self) -> int:
        """N."""
        return len(self.values)

    def weighted_sum(self, table_CX: torch.Tensor) -> torch.Tensor:
        """Values times table: row r is the sum over its entries of value * table[column]. [C, X] -> [R, X]"""
        return F.embedding_bag(
            self.indices,
            table_CX,
            self.indptr,
            mode="sum",
            per_sample_weights=self.values.to(table_CX.dtype),
            include_last_offset=True,
        )

    def plain_sum(self, table_CX: torch.Tensor) -> torch.Tensor:
        """Indicator times table: row r is the sum over its entries of table[column]. [C, X] -> [R, X]"""
        return F.embedding_bag(self.indices, table_CX, self.indptr, mode="sum", include_last_offset=True)


def transpose(
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    values: NDArray[np.float32],
    num_columns: int,
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float32]]:
    """CSR arrays of the transpose [C, R] of a CSR matrix [R, C]; rows ascend within each column."""
    matrix = sparse.csr_matrix((values, indices, indptr), shape=(len(indptr) - 1, num_columns))
    turned = matrix.T.tocsr()
    return turned.indptr, turned.indices, turned.data
