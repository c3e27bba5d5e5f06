"""A user that training never saw, from ratings alone: no retraining, nothing written.

K width of the vectors, H = K in an AutoRec, N ratings of the new user
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.families.autorec.network.network import RowEncoder
from recsys_dist.kernels.sparse import Csr
from recsys_dist.model_folder.folder import EncodeFoldIn, ModelFolder, RidgeFoldIn

SMALLEST_PULL = 1e-6


@dataclass(frozen=True)
class NewUser:
    """Vector [K] and bias of a folded-in user."""

    vector_K: torch.Tensor
    bias: torch.Tensor
    spread_T: torch.Tensor | None = None
    """The pairs of the covariance (families/mf/serving/uncertainty.py); None where the model does not know it."""
    precision: float = 1.0
    """E[alpha], how many times as precise the ratings are as an average user's."""
    noise: float = 1.0
    """E[1 / alpha]"""


def fold_in_ridge(
    spec: RidgeFoldIn, hidden_NH: torch.Tensor, residual_N: torch.Tensor, average: NewUser
) -> NewUser:
    """The decoder row (w, b) of a new column of an item-AutoRec, in float64.

    Training's loss for one column, drawn to the average column instead of to zero. `residual` is the rating less
    mean and item bias.

    argmin over w, b of sum of (residual_n - h_n . w - b)^2
                        + lambda/2 |w - average|^2 + column_shrinkage (b - average)^2

    A sigmoid output link counts as straight here, which it is near the mean.
    """
    design_Nn = torch.nn.functional.pad(hidden_NH.double(), (0, 1), value=1.0)
    average_n = torch.cat([average.vector_K, average.bias.reshape(1)]).double()
    pull_n = torch.full_like(average_n, max(spec.regularization / 2, SMALLEST_PULL))
    pull_n[-1] = max(spec.column_shrinkage, SMALLEST_PULL)
    # (H^T H + pull) (x - average) = H^T (residual - H average)
    right_n = design_Nn.T @ (residual_N.double() - design_Nn @ average_n)
    own_n = average_n + torch.linalg.solve(design_Nn.T @ design_Nn + pull_n.diag(), right_n)
    return NewUser(own_n[:-1].float(), own_n[-1].float())


def fold_in_encode(
    spec: EncodeFoldIn,
    folder: ModelFolder,
    item_N: NDArray[np.int64],
    rating_N: NDArray[np.float32],
    average: NewUser,
    share: float,
) -> NewUser:
    """The hidden state and bias of a new row of a user-AutoRec: this share of them, the rest is the average's."""
    device = average.vector_K.device
    # The row over the rated items alone, so that only their N rows of the encoder are read.
    row = Csr.from_numpy(np.array([0, len(item_N)]), np.arange(len(item_N)), rating_N, len(item_N), device)
    columns = folder.table("encoder").take(torch.from_numpy(item_N))
    encoder = RowEncoder.from_state(
        {name: tensor.to(device) for name, tensor in columns.items()},
        _whole(folder, "hidden", device),
        _layers(folder, device),
        spec.model_dump(),
        spec.hidden_activation,
        spec.centring,
    )
    hidden_1H, bias_1 = encoder.encode(row)
    return NewUser(torch.lerp(average.vector_K, hidden_1H[0], share), torch.lerp(average.bias, bias_1[0], share))


def _layers(folder: ModelFolder, device: torch.device) -> list[dict[str, torch.Tensor]]:
    names = itertools.takewhile(folder.has_table, (f"layer_{number}" for number in itertools.count(1)))
    return [_whole(folder, name, device) for name in names]


def _whole(folder: ModelFolder, name: str, device: torch.device) -> dict[str, torch.Tensor]:
    table = folder.table(name)
    rows = table.take(torch.arange(table.num_rows, device="cpu"))
    return {key: tensor.to(device) for key, tensor in rows.items()}
