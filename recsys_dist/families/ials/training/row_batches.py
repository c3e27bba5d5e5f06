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

BATCH_FLOATS = {"cpu": 1 << 19, "cuda": 1 << 26}
"""Numbers gathered for a batch: on the CPU they stay in a core's cache, a GPU needs many rows at once."""


@dataclass(frozen=True)
class RowBatch:
    """Rows with their interactions; places after the last interaction of a row have the weight 0."""

    row_B: torch.Tensor
    """Rows relative to the first row of this rank: int64."""
    count_B: NDArray[np.int64]
    """Number of interactions."""
    column_BL: torch.Tensor
    weight_BL: torch.Tensor
    """float32"""


def batch_entries(factors: int, device: torch.device) -> int:
    """Largest number of interactions of a batch, with padding."""
    return max(1, BATCH_FLOATS.get(device.type, BATCH_FLOATS["cuda"]) // factors)


def padded_batches(
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    weights: NDArray[np.float32],
    first_row: int,
    most_entries: int,
    device: torch.device,
) -> Iterator[RowBatch]:
    """Cut CSR rows into batches, longest rows first; rows without interactions are left out.

    `first_row` is added to the row numbers. A row longer than `most_entries` is a batch of its own.
    """
    count_R = np.diff(indptr)
    order = np.argsort(-count_R, kind="stable")
    order, start = order[: np.count_nonzero(count_R)], 0
    while start < len(order):
        longest = int(count_R[order[start]])
        rows = order[start : start + max(1, most_entries // longest)]
        place_BL = np.arange(longest)[None, :]
        is_inside_BL = place_BL < count_R[rows][:, None]
        entry_BL = indptr[rows][:, None] + np.where(is_inside_BL, place_BL, 0)
        yield RowBatch(
            torch.from_numpy(rows + first_row).to(device),
            count_R[rows].astype(np.int64),
            torch.from_numpy(indices[entry_BL]).to(device),
            torch.from_numpy(np.where(is_inside_BL, weights[entry_BL], np.float32(0))).to(device),
        )
        start += len(rows)
