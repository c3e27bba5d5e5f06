"""Batches of rows with about equally many interactions, padded to the same length.

    B rows of a batch, L interactions of its longest row, N interactions

In: CSR rows of one shard. Out: tensors [B, L] on the run's device. Batches depend on the shard and on the number
of factors, never on ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

BATCH_FLOATS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Gathered numbers of a batch: on the CPU they stay in a core's cache, a GPU needs many rows at once."""
MATRIX_FLOATS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Numbers in the matrices of the systems of a batch."""


@dataclass(frozen=True)
class RowBatch:
    """Rows with their interactions; places after the last interaction of a row have the weight 0."""

    row_B: torch.Tensor
    """Rows relative to the first row of this rank: int64."""
    count_B: NDArray[np.int64]
    """Number of interactions."""
    column_BL: torch.Tensor
    root_BL: torch.Tensor
    """Square roots of the weights: float32."""


@dataclass(frozen=True)
class BatchSize:
    """Limits of a batch."""

    entries: int
    rows: int

    @classmethod
    def of(cls, factors: int, block: int, device: torch.device) -> BatchSize:
        """Limits for vectors of `factors` numbers and systems of `block` unknowns."""
        kind = device.type if device.type in BATCH_FLOATS else "cpu"
        return cls(BATCH_FLOATS[kind] // factors, max(1, MATRIX_FLOATS[kind] // block**2))


def padded_batches(
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    weights: NDArray[np.float32],
    first_row: int,
    size: BatchSize,
    device: torch.device,
) -> Iterator[RowBatch]:
    """Cut CSR rows into batches, longest rows first; rows without interactions are left out.

    `first_row` is added to the row numbers. A row longer than `size.entries` is a batch of its own.
    """
    count_R, root_N = np.diff(indptr), np.sqrt(weights)
    order = np.argsort(-count_R, kind="stable")
    order, start = order[: np.count_nonzero(count_R)], 0
    while start < len(order):
        longest = int(count_R[order[start]])
        rows = order[start : start + min(size.rows, max(1, size.entries // longest))]
        place_BL = np.arange(longest)[None, :]
        is_inside_BL = place_BL < count_R[rows][:, None]
        entry_BL = np.where(is_inside_BL, indptr[rows][:, None] + place_BL, indptr[rows][:, None])
        yield RowBatch(
            torch.from_numpy(rows + first_row).to(device),
            count_R[rows].astype(np.int64),
            torch.from_numpy(indices[entry_BL]).to(device),
            torch.from_numpy(np.where(is_inside_BL, root_N[entry_BL], np.float32(0))).to(device),
        )
        start += len(rows)
