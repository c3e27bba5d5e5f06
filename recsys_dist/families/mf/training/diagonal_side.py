"""One side of a matrix factorization with diagonal posteriors: a variance for each entry of a row.

Formulas: see families/mf/em/diagonal.py.

Shapes: see families/mf/em/layout.py; R rows of this rank, numbered from 0. Rows are the first dimension.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from recsys_dist.families.mf.em.conjugate_gradients import ConjugateGradients
from recsys_dist.families.mf.em.diagonal import DiagonalPosterior, row_inner, variance_errors
from recsys_dist.families.mf.em.layout import PanelLayout
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.training.side import FactorSide
from recsys_dist.kernels.one_thread import one_thread
from recsys_dist.kernels.sparse import Tables

BATCH_ROWS = 4096


class DiagonalSide(FactorSide):
    """The rows of one side on this rank."""

    def __init__(self, layout: PanelLayout, start: int, num_rows: int, prior: Prior, sums_errors: bool) -> None:
        super().__init__(layout, start, num_rows, prior, sums_errors, BATCH_ROWS)
        n, device = layout.num_own, self.mean_nR.device
        # Each row is contiguous, since the code below reads row by row.
        self.mean_nR = torch.zeros((num_rows, n), dtype=torch.float32, device=device).T
        self.variance_Rn = torch.zeros((num_rows, n), dtype=torch.float32, device=device)
        self._second_RD = torch.zeros((num_rows, n + 1), dtype=torch.float32, device=device)
        """sum of beta E[z^2] over the ratings of a row"""
        self._variance_RD = torch.zeros_like(self._second_RD)
        """sum of beta Var(z)"""

    def moments(self, rows: slice) -> Tables:
        """The tables the other side gathers once a solve: beta E[z^2], beta Var(z), constraint, precisions."""
        variance_RD = self.mean_nR.new_zeros((rows.stop - rows.start, self.layout.num_own + 1))
        variance_RD[:, self.layout.own_n] = self.variance_Rn[rows]
        second_RD = self.vectors(rows).square() + variance_RD
        constraint = [] if self.constraint_Rn is None else [self.constraint_Rn[rows]]
        if self.precision_R is None:
            return Tables([second_RD, variance_RD, *constraint])
        precision_R1 = self.precision_R[rows].unsqueeze(1)
        return Tables([second_RD * precision_R1, variance_RD * precision_R1, *constraint], None, precision_R1)

    def gather(self, rows: slice, gathered: Tables) -> None:
        """Store the sums of the other side's `moments` for some rows."""
        self._second_RD[rows], self._variance_RD[rows], *constraint = gathered.plain
        if gathered.by_square is not None:
            self.square_R[rows] = gathered.by_square[:, 0]
        if self.shift_Rn is not None:
            self.shift_Rn[rows] = constraint[0]

    def entries(self, rows: slice) -> Tables:
        """The tables for sums over single ratings: E[z] of some rows, and their precisions if any."""
        precision = [] if self.precision_R is None else [self.precision_R[rows].unsqueeze(1)]
        return Tables([self.vectors(rows), *precision])

    def start_from_prior(self) -> None:
        """Set rows without ratings to their prior mean, which is their solution."""
        unrated_R = self.count_R == 0
        self.mean_nR.T[unrated_R] = self.prior_means(self.all_rows)[unrated_R]

    def begin(self, residual_BD: torch.Tensor, rows: slice, noise_variance: float) -> ConjugateGradients:
        """Set up the systems of the means of some rows, given the sums of beta e E[z] over the ratings of each."""
        # sigma^2 / v = alpha sum of beta E[z^2] + sigma^2 Lambda_kk
        scaled_Bn = self._scaled(self._second_RD[rows][:, self.layout.own_n], rows)
        scaled_Bn = scaled_Bn + (noise_variance * self.prior.precision_nn.diagonal()).float()
        self.variance_Rn[rows] = noise_variance / scaled_Bn
        # right - A x = alpha (sum of beta e E[z] - sum of beta Var(z) x) - sigma^2 Lambda (x - m_u)
        own_Bn = residual_BD[:, self.layout.own_n].float() - self._own_spread(rows) * self.mean_nR.T[rows]
        shift_Bn = self.mean_nR.T[rows] - self.prior_means(rows)
        residual_Bn = self._scaled(own_Bn, rows) - self._prior_product(shift_Bn, noise_variance)
        return ConjugateGradients(residual_Bn, row_inner, scaled_Bn.reciprocal())

    def image(
        self, direction_Bn: torch.Tensor, product_BD: torch.Tensor, rows: slice, noise_variance: float
    ) -> torch.Tensor:
        """A times `direction`, given the sums of beta (direction . E[z]) E[z] over the ratings of each row."""
        own_Bn = product_BD[:, self.layout.own_n].float() + self._own_spread(rows) * direction_Bn
        return self._scaled(own_Bn, rows) + self._prior_product(direction_Bn, noise_variance)

    def close(self, rows: slice, error_R1: torch.Tensor | None, noise_variance: float) -> torch.Tensor:
        """The sums [S] of some solved rows; `error` is the sum of beta e^2 over the ratings of each."""
        posterior = DiagonalPosterior(self.mean_nR.T[rows], self.variance_Rn[rows])
        error_B = None
        if error_R1 is not None:
            variance_B = variance_errors(posterior, self._second_RD[rows], self._variance_RD[rows], self.layout)
            error_B = error_R1.squeeze(1).double() + variance_B
        return self._finish(rows, posterior, self.prior_means(rows).T, error_B, noise_variance)

    def directions(self, systems: Iterable[tuple[slice, ConjugateGradients]]) -> torch.Tensor:
        """The search directions of all rows, as augmented vectors whose constant is 0: [R, D]."""
        direction_RD = torch.zeros_like(self._variance_RD)
        for batch, system in systems:
            direction_RD[batch][:, self.layout.own_n] = system.direction_Rn
        return direction_RD

    def _scaled(self, rows_Bn: torch.Tensor, rows: slice) -> torch.Tensor:
        return rows_Bn if self.precision_R is None else rows_Bn * self.precision_R[rows].unsqueeze(1)

    def _own_spread(self, rows: slice) -> torch.Tensor:
        return self._variance_RD[rows][:, self.layout.own_n]

    def _prior_product(self, rows_Bn: torch.Tensor, noise_variance: float) -> torch.Tensor:
        """sigma^2 Lambda times each row."""
        with one_thread():
            return rows_Bn @ (noise_variance * self.prior.precision_nn).float()

    def columns(self) -> dict[str, torch.Tensor]:
        """The columns of every side, and variances."""
        return {**super().columns(), "variance": self.variance_Rn}

    def take_columns(self, columns: dict[str, torch.Tensor]) -> None:
        """Restore what `columns` returned."""
        super().take_columns(columns)
        self.variance_Rn.copy_(columns["variance"])
