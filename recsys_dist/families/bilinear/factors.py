"""Both sides of a bilinear form, loaded on one device.

f(offset + user_bias[u] + item_bias[i] + user_vector[u] . item_vector[i])     f the output activation

U users, I items, K width of the vectors, N pairs; row U (or I) is for unknown users (or items)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.errors import CheckpointError
from recsys_dist.model_folder.folder import ModelFolder

GATHER_FLOATS = 1 << 24


@dataclass(frozen=True)
class Factors:
    """One side: vectors [rows + 1, K], biases [rows + 1], and which rows [rows + 1] have no train rating."""

    vector_RK: torch.Tensor
    bias_R: torch.Tensor
    is_cold_R: torch.Tensor
    num_rows: int
    """Number of users or items, which is also the index of the row for unknown ones."""
    width: int
    """K."""


def load_factors(folder: ModelFolder, side: Side, device: torch.device) -> Factors:
    """Load one side. Rows without a train rating are replaced by the row for unknown users or items.

    Training leaves initial values or the prior in such rows. For AutoRec the unknown row is a better guess, for
    matrix factorization it is the same.
    """
    table = folder.table(side)
    num_rows = folder.num_rows(side) + 1
    if table.num_rows != num_rows:
        raise CheckpointError(f"{folder.folder.url}: table {side} has {table.num_rows} rows, not {num_rows}")
    first = next(iter(table.chunks()))[1]
    vector_RK = torch.empty((num_rows, *first["vector"].shape[1:]), dtype=torch.float32, device=device)
    bias_R = torch.empty(num_rows, dtype=torch.float32, device=device)
    for start, chunk in table.chunks():
        vector_RK[start : start + len(chunk["bias"])] = chunk["vector"].to(device)
        bias_R[start : start + len(chunk["bias"])] = chunk["bias"].to(device)
    is_cold_R = torch.ones(num_rows, dtype=torch.bool, device=device)
    is_cold_R[:-1] = torch.from_numpy(folder.num_train(side) == 0).to(device)
    vector_RK[is_cold_R] = vector_RK[-1].clone()
    bias_R[is_cold_R] = bias_R[-1].clone()
    return Factors(vector_RK, bias_R, is_cold_R, num_rows - 1, vector_RK.shape[1])
