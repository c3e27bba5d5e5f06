"""One side of a matrix factorization, users or items: posteriors of the rows of a rank, and their prior.

Shapes: see families/mf/em/layout.py; R rows of this rank, numbered from 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from recsys_dist.families.mf.em import m_step
from recsys_dist.families.mf.em.e_step import updated_precision
from recsys_dist.families.mf.em.layout import PanelLayout
from recsys_dist.families.mf.em.m_step import RowPosterior
from recsys_dist.families.mf.em.prior import Prior

FIRST_DOF = 10.0
"""Initial nu: precisions differ by a factor of about 2."""


class FactorSide:
    """The rows of one side on this rank."""

    def __init__(
        self, layout: PanelLayout, start: int, num_rows: int, prior: Prior, sums_errors: bool, rows_at_once: int
    ) -> None:
        n, device = layout.num_own, layout.own_n.device
        self.sums_errors = sums_errors
        """Whether the sums of a solve include the squared error; one side suffices."""
        self.layout, self.start, self.num_rows, self.prior = layout, start, num_rows, prior
        self._rows_at_once = rows_at_once
        self.mean_nR = torch.zeros((n, num_rows), dtype=torch.float32, device=device)
        self.count_R = torch.zeros(num_rows, dtype=torch.float64, device=device)
        """Number of ratings of each row."""
        self.square_R = torch.zeros(num_rows, dtype=torch.float64, device=device)
        """Sum of the squared ratings of each row, weighted by the precision of the other side."""
        self.root_R1 = torch.zeros((num_rows, 1), dtype=torch.float32, device=device)
        """1 / sqrt(n_u), and 0 without ratings."""
        self.precision_R: torch.Tensor | None = None
        """E[alpha], float32; None with shared noise."""
        self.dof = FIRST_DOF
        """nu of the precisions"""
        self.constraint_Rn: torch.Tensor | None = None
        """Constraint vector of each row; shifts the prior means of its neighbours. None: unconstrained."""
        self.constraint_nn: torch.Tensor | None = None
        """lambda W^T W of the other side's constraint, which shifts the prior means of this side."""
        self.shift_Rn: torch.Tensor | None = None
        """Sum of the other side's constraint over the ratings of each row, as of the last E step. None: the other
        side is unconstrained."""
        self.least_error = 0.0
        """Smallest squared error of a rating that float32 moments resolve; a lower bound in precision updates."""
        self.failed_row: int | None = None
        """The first row that could not be solved."""

    @property
    def all_rows(self) -> slice:
        """The rows of this rank."""
        return slice(0, self.num_rows)

    def differ(self, precisions_differ: bool) -> None:
        """Give each row its own noise precision, initially 1, or remove the precisions."""
        if not precisions_differ:
            self.precision_R, self.dof = None, FIRST_DOF
        elif self.precision_R is None:
            self.precision_R = torch.ones(self.num_rows, dtype=torch.float32, device=self.mean_nR.device)

    def carry_constraint(self, carries: bool) -> None:
        """Give each row a constraint vector, initially 0, or remove the constraint."""
        if not carries:
            self.constraint_Rn = None
        elif self.constraint_Rn is None:
            self.constraint_Rn = self.mean_nR.new_zeros((self.num_rows, self.layout.num_own))

    def gather_constraint(self, gathers: bool) -> None:
        """Keep the sums of the other side's constraint, 0 before the next E step, or drop them."""
        self.shift_Rn = self.mean_nR.new_zeros((self.num_rows, self.layout.num_own)) if gathers else None

    def prior_means(self, rows: slice) -> torch.Tensor:
        """m_u of some rows: float32 [R, n]."""
        mean_Rn = self.prior.mean_n.float().expand(rows.stop - rows.start, -1)
        # m_u = m + (sum of w_i) / sqrt(n_u)
        return mean_Rn if self.shift_Rn is None else mean_Rn + self.shift_Rn[rows] * self.root_R1[rows]

    @property
    def needs_errors(self) -> bool:
        """Whether a solve must compute the squared errors of its rows."""
        return self.sums_errors or self.precision_R is not None

    def centred(self) -> torch.Tensor:
        """Posterior means minus the prior mean: float32 [R, n]."""
        return (self.mean_nR - self.prior.mean_n.float().unsqueeze(1)).T.contiguous()

    def batches(self, rows: slice) -> Iterator[slice]:
        """Cut rows into batches of solves."""
        for start in range(rows.start, rows.stop, self._rows_at_once):
            yield slice(start, min(start + self._rows_at_once, rows.stop))

    def _finish(
        self,
        batch: slice,
        posterior: RowPosterior,
        prior_mean_nB: torch.Tensor,
        error_B: torch.Tensor | None,
        noise_variance: float,
    ) -> torch.Tensor:
        """E step of the precisions of solved rows; returns the sums of the batch [S]."""
        if self.failed_row is None and not posterior.log_determinant_B.isfinite().all():
            failed_B = ~posterior.log_determinant_B.isfinite()
            self.failed_row = self.start + batch.start + int(failed_B.int().argmax())
        precision_B, count_B = None, self.count_R[batch]
        if self.precision_R is not None:
            assert error_B is not None
            resolved_B = error_B.maximum(self.least_error * count_B)
            precision_B = updated_precision(resolved_B, count_B, self.dof, noise_variance)
            self.precision_R[batch] = precision_B.float()
        return m_step.row_sums(posterior, prior_mean_nB, count_B, error_B, precision_B, self.dof, self.layout)

    def vectors(self, rows: slice) -> torch.Tensor:
        """E[z] of some rows: [R, D]."""
        vectors_RD = self.mean_nR.new_ones((rows.stop - rows.start, self.layout.num_own + 1))
        vectors_RD[:, self.layout.own_n] = self.mean_nR[:, rows].T
        return vectors_RD

    def columns(self) -> dict[str, torch.Tensor]:
        """Columns of the saved table, one row per user or item."""
        columns = {"mean": self.mean_nR.T}
        if self.precision_R is not None:
            columns["precision"] = self.precision_R
        if self.constraint_Rn is not None:
            columns["constraint"] = self.constraint_Rn
        return {name: column.contiguous() for name, column in columns.items()}

    def take_columns(self, columns: dict[str, torch.Tensor]) -> None:
        """Restore what `columns` returned."""
        device = self.mean_nR.device
        self.mean_nR.T.copy_(columns["mean"])
        self.precision_R = columns["precision"].to(device) if "precision" in columns else None
        self.constraint_Rn = columns["constraint"].to(device) if "constraint" in columns else None
