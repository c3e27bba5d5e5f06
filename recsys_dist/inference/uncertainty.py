"""How sure a matrix factorization with full posterior is of a prediction.

r_ui ~ Normal(mu + a_u . z_i, sigma^2) with a_u = (p_u, b_u, 1), z_i = (q_i, 1, c_i), both normal a posteriori:

Var[r_ui] = sigma^2 + E[a]^T Cov_z E[a] + E[z]^T Cov_a E[z] + trace(Cov_a Cov_z)

K factors, n = K + 1 own entries, T = n (n + 1) / 2, N pairs. The constants have no variance, so that only own
entries enter: (p_u, 1) meets the covariance of (q_i, c_i), (q_i, 1) that of (p_u, b_u), and the trace is over
the K x K parts of p_u and q_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from recsys_dist.checkpoint.model_folder import ModelFolder, PosteriorFoldIn, covariances_of
from recsys_dist.checkpoint.tables import Table
from recsys_dist.data.dataset import SIDES
from recsys_dist.inference.factors import Factors

GATHER_FLOATS = 1 << 22


@dataclass(frozen=True)
class Belief:
    """Normal(mean, covariance) of N users or items: vectors [N, K] and packed covariances [N, T]."""

    vector_NK: torch.Tensor
    covariance_NT: torch.Tensor


class Uncertainty:
    """The covariances of a model, read as they are needed, and its noise."""

    def __init__(self, folder: ModelFolder, fold_in: PosteriorFoldIn) -> None:
        self.noise_variance = fold_in.noise_variance
        self._tables: dict[str, Table] = {side: folder.table(covariances_of(side)) for side in SIDES}

    def belief(self, side: str, factors: Factors, index_N: torch.Tensor) -> Belief:
        """What is known of N users or items."""
        row_N = torch.where(factors.is_cold_R[index_N], factors.num_rows, index_N)
        covariance_NT = self._tables[side].take(row_N.cpu())["covariance"]
        return Belief(factors.vector_RK[row_N], covariance_NT.to(index_N.device))

    def variance(self, user: Belief, item: Belief) -> torch.Tensor:
        """Var[r_ui] of N pairs: float64 [N]."""
        variance_N = torch.full(
            (len(user.vector_NK),), self.noise_variance, dtype=torch.float64, device=user.vector_NK.device
        )
        step = max(1, GATHER_FLOATS // (user.vector_NK.shape[1] + 1) ** 2)
        for start in range(0, len(variance_N), step):
            part = slice(start, start + step)
            user_cov_Nnn = unpack(user.covariance_NT[part].double())
            item_cov_Nnn = unpack(item.covariance_NT[part].double())
            variance_N[part] += _quadratic(user.vector_NK[part], item_cov_Nnn)
            variance_N[part] += _quadratic(item.vector_NK[part], user_cov_Nnn)
            # trace(Cov_a Cov_z), of symmetric matrices the sum of the products of their entries
            variance_N[part] += (user_cov_Nnn[:, :-1, :-1] * item_cov_Nnn[:, :-1, :-1]).sum((1, 2))
        return variance_N


def _quadratic(vector_NK: torch.Tensor, covariance_Nnn: torch.Tensor) -> torch.Tensor:
    """(v, 1)^T Cov (v, 1): [N]"""
    one_Nn = torch.nn.functional.pad(vector_NK.double(), (0, 1), value=1.0)
    return ((covariance_Nnn @ one_Nn.unsqueeze(2)).squeeze(2) * one_Nn).sum(1)


def unpack(packed_NT: torch.Tensor) -> torch.Tensor:
    """Upper triangles, row by row -> symmetric matrices: [N, T] -> [N, n, n]"""
    n = (math.isqrt(8 * packed_NT.shape[1] + 1) - 1) // 2
    rows_T, columns_T = torch.triu_indices(n, n, device=packed_NT.device)
    full_Nnn = packed_NT.new_empty((len(packed_NT), n, n))
    full_Nnn[:, rows_T, columns_T] = packed_NT
    full_Nnn[:, columns_T, rows_T] = packed_NT
    return full_Nnn


def pack(symmetric_nn: torch.Tensor) -> torch.Tensor:
    """A symmetric matrix -> its upper triangle, row by row: [n, n] -> [T]"""
    rows_T, columns_T = torch.triu_indices(*symmetric_nn.shape, device=symmetric_nn.device)
    return symmetric_nn[rows_T, columns_T]
