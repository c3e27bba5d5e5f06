"""Fold-in of a new user from ratings alone, without retraining.

K width of the vectors, H = K in an AutoRec, N ratings of the new user
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from recsys_dist.families.autorec.network.encoder import Baseline, InputForm, RowEncoder
from recsys_dist.families.autorec.network.hidden_layers import Layer
from recsys_dist.families.autorec.serving.facts import EncodeFoldIn, RidgeFoldIn
from recsys_dist.families.bilinear.scorer import BilinearUsers
from recsys_dist.kernels.sparse import Csr
from recsys_dist.model_folder.folder import ModelFolder

SMALLEST_PULL = 1e-6


def fold_in_ridge(
    spec: RidgeFoldIn, hidden_NH: torch.Tensor, residual_N: torch.Tensor, average: BilinearUsers
) -> BilinearUsers:
    """Solve for the decoder row (w, b) of a new column of an item-AutoRec, in float64.

    Minimises the training loss of one column, shrunk towards the average column instead of zero. `residual` is the
    rating minus mean and item bias.

    argmin over w, b of sum of (residual_n - h_n . w - b)^2
                        + lambda/2 |w - average|^2 + column_shrinkage (b - average)^2

    A sigmoid output link is treated as linear, which it nearly is around the mean.
    """
    design_Nn = torch.nn.functional.pad(hidden_NH.double(), (0, 1), value=1.0)
    average_n = torch.cat([average.vector_BK[0], average.bias_B]).double()
    pull_n = torch.full_like(average_n, max(spec.regularization / 2, SMALLEST_PULL))
    pull_n[-1] = max(spec.column_shrinkage, SMALLEST_PULL)
    # (H^T H + pull) (x - average) = H^T (residual - H average)
    right_n = design_Nn.T @ (residual_N.double() - design_Nn @ average_n)
    own_n = average_n + torch.linalg.solve(design_Nn.T @ design_Nn + pull_n.diag(), right_n)
    return BilinearUsers(own_n[None, :-1].float(), own_n[-1:].float())


def fold_in_encode(
    spec: EncodeFoldIn,
    folder: ModelFolder,
    item_N: torch.Tensor,
    rating_N: torch.Tensor,
    average: BilinearUsers,
    share: float,
) -> BilinearUsers:
    """Encode a new row of a user-AutoRec: `share` of its hidden state and bias, the rest of the average user's."""
    device, num_rated = average.bias_B.device, len(item_N)
    # The columns are the rated items only, so that only N rows of the encoder are read.
    every = np.arange(num_rated)
    row = Csr.from_numpy(np.array([0, num_rated]), every, rating_N.cpu().numpy(), num_rated, device)
    hidden_1H, bias_1 = row_encoder(spec, folder, item_N, device).encode(row)
    vector_1H = torch.lerp(average.vector_BK, hidden_1H, share)
    return BilinearUsers(vector_1H, torch.lerp(average.bias_B, bias_1, share))


def row_encoder(spec: EncodeFoldIn, folder: ModelFolder, item_N: torch.Tensor, device: torch.device) -> RowEncoder:
    """The encoder of a user-AutoRec with these items as its columns."""
    columns = folder.table("encoder").take(item_N.cpu())
    form = InputForm(spec.centring, spec.implicit_input, spec.length_normalization, spec.mean_length)
    column_bias_N, encoder_NH = (columns[name].to(device) for name in ("column_bias", "encoder"))
    baseline = Baseline(spec.mean, column_bias_N, spec.scale, spec.row_shrinkage, form)
    hidden_bias_H = _whole(folder, "hidden", device)["bias"]
    return RowEncoder(baseline, encoder_NH, hidden_bias_H, _layers(folder, device), spec.hidden_activation)


def _layers(folder: ModelFolder, device: torch.device) -> list[Layer]:
    names = itertools.takewhile(folder.has_table, (f"layer_{number}" for number in itertools.count(1)))
    return [Layer(**_whole(folder, name, device)) for name in names]


def _whole(folder: ModelFolder, name: str, device: torch.device) -> dict[str, torch.Tensor]:
    table = folder.table(name)
    rows = table.take(torch.arange(table.num_rows, device="cpu"))
    return {key: tensor.to(device) for key, tensor in rows.items()}
