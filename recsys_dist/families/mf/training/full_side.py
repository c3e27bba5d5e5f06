"""One side of a matrix factorization with full covariances or point estimates.

Shapes: see families/mf/em/layout.py; R rows of this rank, numbered from 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recsys_dist.families.mf.em import e_step, m_step
from recsys_dist.families.mf.em.e_step import Posterior, Statistics
from recsys_dist.families.mf.em.layout import PanelLayout, fill_panel, packed_size
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.training.side import FactorSide
from recsys_dist.kernels.sparse import Tables

PADDING = 1e-6
"""PADDING x n bounds the relative rounding error of a gathered sum of squares: n numbers with an error of a few
float32 units (6e-8) each, compared with the smallest eigenvalue."""


class FullSide(FactorSide):
    """The rows of one side on this rank."""

    def __init__(
        self, layout: PanelLayout, start: int, num_rows: int, prior: Prior, sums_errors: bool, point: bool
    ) -> None:
        super().__init__(layout, start, num_rows, prior, sums_errors, e_step.batch_rows(layout.num_own))
        self.point = point
        size = (packed_size(layout.num_own), num_rows)
        self.covariance_TR = torch.zeros(size, dtype=torch.float32, device=self.mean_nR.device)

    def solve(
        self, rows: slice, gathered: Tables, noise_variance: float, tables: Tables | None = None
    ) -> torch.Tensor:
        """E step of some rows, given the tables they gathered (row 0 is rows.start); returns their sums [S].

        `tables`, of `tables_in`, receive the solved rows, and may share the memory of `gathered`.
        """
        sums_S = self.count_R.new_zeros(m_step.num_sums(self.layout.num_own))
        for batch in self.batches(rows):
            here = slice(batch.start - rows.start, batch.stop - rows.start)
            sums_S += self._solve_batch(batch, gathered.rows(here.start, here.stop), noise_variance)
            if tables is not None:
                # While the covariances are in the cache.
                self._fill(tables.rows(here.start, here.stop), batch)
        return sums_S

    def _solve_batch(self, batch: slice, gathered: Tables, noise_variance: float) -> torch.Tensor:
        statistics = self._statistics(batch, gathered)
        posterior = self._posterior(statistics, noise_variance)
        self.mean_nR[:, batch], self.covariance_TR[:, batch] = posterior.mean_nB, posterior.covariance_TB
        error_B = None
        if self.needs_errors:
            error_B = e_step.squared_errors(posterior, statistics, self.layout, self.point)
        return self._finish(batch, posterior, statistics.prior_mean_nB, error_B, noise_variance)

    def _statistics(self, batch: slice, gathered: Tables) -> Statistics:
        panels = gathered.plain[: len(self.layout.widths)]
        assert gathered.by_value is not None, "the vectors of the other side are gathered by value"
        if gathered.by_square is not None:
            self.square_R[batch] = gathered.by_square[:, 0]
        if self.shift_Rn is not None:
            self.shift_Rn[batch] = gathered.plain[-1]
        return Statistics(
            gram_WB=_batch_last(panels),
            weighted_DB=gathered.by_value.T,
            square_B=self.square_R[batch],
            count_B=self.count_R[batch],
            precision_B=None if self.precision_R is None else self.precision_R[batch],
            prior_mean_nB=self.prior_means(batch).T,
        )

    def _posterior(self, statistics: Statistics, noise_variance: float) -> Posterior:
        single = statistics.to(torch.float32)
        posterior = e_step.update(single, self.prior, noise_variance, self.layout)
        if posterior.is_finite:
            return posterior
        # Rounding to float32 made a precision matrix indefinite, either in the solve (float64 helps) or in the
        # gathered sums (padding helps).
        double = statistics.to(torch.float64)
        posterior = e_step.update(double, self.prior, noise_variance, self.layout)
        if not posterior.is_finite:
            padding_B = (~posterior.log_determinant_B.isfinite()).double() * (PADDING * self.layout.num_own)
            posterior = e_step.update(
                double.padded(padding_B, self.layout), self.prior, noise_variance, self.layout
            )
        return posterior.to(torch.float32)

    def tables(self, rows: slice) -> Tables:
        """The tables the other side gathers of some rows: moments (panels), constraint, vectors, precisions."""
        num_rows = rows.stop - rows.start
        panels = [self.mean_nR.new_empty((num_rows, width)) for width in self.layout.widths]
        vectors_RD = self.mean_nR.new_empty((num_rows, self.layout.num_own + 1))
        tables = self.tables_in(Tables(panels, vectors_RD), rows)
        for batch in self.batches(rows):
            self._fill(tables.rows(batch.start - rows.start, batch.stop - rows.start), batch)
        return tables

    def tables_in(self, place: Tables, rows: slice) -> Tables:
        """The tables of some rows, with moments and vectors, still to be filled, in the memory of `place`."""
        panels = place.plain[: len(self.layout.widths)]
        constraint = [] if self.constraint_Rn is None else [self.constraint_Rn[rows]]
        by_square = None if self.precision_R is None else self.precision_R[rows].unsqueeze(1)
        return Tables([*panels, *constraint], place.by_value, by_square)

    def _fill(self, tables: Tables, batch: slice) -> None:
        """Write the moments and vectors of a batch of rows."""
        covariance_TB = None if self.point else self.covariance_TR[:, batch]
        vectors_DB = e_step.vectors_of(self.mean_nR[:, batch], self.layout)
        assert tables.by_value is not None
        self._write(vectors_DB, tables.by_value, batch)
        # Panel by panel: each stays in the cache until it is transposed.
        for panel, runs in zip(tables.plain, self.layout.runs, strict=False):
            panel_XB = vectors_DB.new_empty(panel.T.shape)
            fill_panel(panel_XB, runs, vectors_DB, covariance_TB)
            self._write(panel_XB, panel, batch)

    def _write(self, part_XB: torch.Tensor, place: torch.Tensor, batch: slice) -> None:
        """Transpose part of the table of a batch of rows, weighted by their precisions."""
        place.copy_((part_XB if self.precision_R is None else part_XB * self.precision_R[batch]).T)

    def columns(self) -> dict[str, torch.Tensor]:
        """The columns of every side, and covariances as upper triangles read row by row."""
        covariance_RT = self.covariance_TR.new_empty(self.covariance_TR.T.shape)
        # Batch by batch: reordered and transposed as a whole, it would take as much memory again.
        for batch in self.batches(self.all_rows):
            covariance_RT[batch] = self.covariance_TR[:, batch][self.layout.triangle_T].T
        return {**super().columns(), "covariance": covariance_RT}

    def take_columns(self, columns: dict[str, torch.Tensor]) -> None:
        """Restore what `columns` returned."""
        super().take_columns(columns)
        self.covariance_TR[self.layout.triangle_T] = columns["covariance"].to(self.mean_nR.device).T


def _batch_last(panels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate panels [B, columns] and transpose: [W, B]."""
    transposed_WB = panels[0].new_empty((sum(panel.shape[1] for panel in panels), len(panels[0])))
    # copy_ works tile by tile; torch.cat of transposed panels does not.
    for part, panel in zip(transposed_WB.split([panel.shape[1] for panel in panels]), panels, strict=True):
        part.copy_(panel.T)
    return transposed_WB
