"""The E step of matrix factorization with independent entries: x_u ~ Normal(m_u, diag(v_u)), see e_step.py.

Given E[z_i] and Var(z_i) of the rated items, and e_ui = r~_ui - a_u . E[z_i], the optimal posterior has

    sigma^2 / v_uk = alpha_u sum of beta_i E[z_ik^2] + sigma^2 Lambda_kk
    A E[x_u] = right_u      A = alpha_u sum of beta_i (E[z_i] E[z_i]^T + diag(Var(z_i))) + sigma^2 Lambda

Solving the system gives the exact mean. A few steps of conjugate gradients from the last mean come closer to it
and raise the bound. They cost D numbers per rating, where full covariances cost D^2 / 2.

Source: Raiko, Ilin & Karhunen 2007 (fully factorial posteriors).
Shapes: see layout.py; here rows come first. R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from recsys_dist.families.mf.em.layout import PanelLayout


@dataclass(frozen=True)
class DiagonalPosterior:
    """Normal(mean, diag(variance)) of each row of a batch."""

    mean_Bn: torch.Tensor
    variance_Bn: torch.Tensor

    @property
    def mean_nB(self) -> torch.Tensor:
        """The mean with the batch last."""
        return self.mean_Bn.T

    @cached_property
    def log_determinant_B(self) -> torch.Tensor:
        """Log determinants of the covariances; float64."""
        return self.variance_Bn.double().log().sum(1)

    def covariance_sum(self, weight_B: torch.Tensor, layout: PanelLayout) -> torch.Tensor:
        """Weighted sum of the covariances in packed order: float64 [T]."""
        variance_n = (self.variance_Bn.double() * weight_B.unsqueeze(1)).sum(0)
        return torch.where(layout.own_rows_T == layout.own_columns_T, variance_n[layout.own_rows_T], 0.0)


def row_inner(left_Rn: torch.Tensor, right_Rn: torch.Tensor) -> torch.Tensor:
    """Inner products row by row, for conjugate gradients with one system per row: [R, 1]"""
    return (left_Rn * right_Rn).sum(1, keepdim=True)


def variance_errors(
    posterior: DiagonalPosterior, second_BD: torch.Tensor, variance_BD: torch.Tensor, layout: PanelLayout
) -> torch.Tensor:
    """Variance part of E[(r~ - a . z)^2], summed over the ratings of a row: float64 [B].

    sum over k of a_k^2 sum of beta Var(z_k) + v_k sum of beta E[z_k^2]
    """
    vector_BD = variance_BD.new_ones(variance_BD.shape)
    vector_BD[:, layout.own_n] = posterior.mean_Bn
    of_other_B = (vector_BD.square() * variance_BD).sum(1, dtype=torch.float64)
    return of_other_B + (posterior.variance_Bn * second_BD[:, layout.own_n]).sum(1, dtype=torch.float64)
