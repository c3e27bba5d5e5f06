"""One side of a matrix factorization, users or items: posteriors of the rows that a rank owns, and their prior.

Shapes: see models/factors.py; R rows of this rank, numbered from 0 here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from recsys_dist.kernels.sparse import Tables
from recsys_dist.models import e_step, m_step
from recsys_dist.models.e_step import Posterior, Statistics
from recsys_dist.models.factors import Layout, packed_size
from recsys_dist.models.prior import Prior

FIRST_DOF = 10.0
"""nu before it is learnt: precisions that differ by a factor of about 2."""


class Side:
    """The rows of one side on this rank."""

    def __init__(
        self, layout: Layout, start: int, num_rows: int, prior: Prior, point: bool, sums_errors: bool
    ) -> None:
        n, device = layout.num_own, layout.own_n.device
        self.sums_errors = sums_errors
        """Whether the sums of a solve hold the squared error; one side is enough."""
        self.layout, self.start, self.num_rows, self.prior, self.point = layout, start, num_rows, prior, point
        self.mean_nR = torch.zeros((n, num_rows), dtype=torch.float32, device=device)
        self.covariance_TR = torch.zeros((packed_size(n), num_rows), dtype=torch.float32, device=device)
        self.count_R = torch.zeros(num_rows, dtype=torch.float64, device=device)
        """Ratings of each row."""
        self.square_R = torch.zeros(num_rows, dtype=torch.float64, device=device)
        """Sum of their squares, each weighted by the precision of the other side."""
        self.precision_R: torch.Tensor | None = None
        """E[alpha], float32; None where noise is shared."""
        self.dof = FIRST_DOF
        """nu of the precisions"""
        self.pattern_Rn: torch.Tensor | None = None
        """What a row adds to the prior means of those of the other side that it is rated with; None: nothing."""
        self.pattern_nn: torch.Tensor | None = None
        """lambda W^T W of the other side's pattern, which moves the prior means of this side."""
        self.failed_row: int | None = None
        """The first row that could not be solved."""

    @property
    def root_R(self) -> torch.Tensor:
        """1 / sqrt(n_u), and 0 without ratings: float32."""
        return torch.where(self.count_R > 0, self.count_R.clamp(min=1).rsqrt(), 0.0).float()

    def differ(self, precisions_differ: bool) -> None:
        """Let each row have a precision of its own, starting from 1, or none."""
        if not precisions_differ:
            self.precision_R, self.dof = None, FIRST_DOF
        elif self.precision_R is None:
            self.precision_R = torch.ones(self.num_rows, dtype=torch.float32, device=self.mean_nR.device)

    def carry_pattern(self, carries: bool) -> None:
        """Let the rows of this side move the prior means of the other one, starting from 0, or not."""
        if not carries:
            self.pattern_Rn = None
        elif self.pattern_Rn is None:
            self.pattern_Rn = self.mean_nR.new_zeros((self.num_rows, self.layout.num_own))

    def centred(self) -> torch.Tensor:
        """Posterior means less the mean of the prior: float32 [R, n]."""
        return (self.mean_nR - self.prior.mean_n.float().unsqueeze(1)).T.contiguous()

    def solve(self, rows: slice, gathered: Tables, noise_variance: float) -> torch.Tensor:
        """E step of some rows from what they gathered, whose row 0 is rows.start; returns their sums [S]."""
        sums_S = self.count_R.new_zeros(m_step.num_sums(self.layout.num_own))
        for batch in self.batches(rows):
            here = slice(batch.start - rows.start, batch.stop - rows.start)
            sums_S += self._solve_batch(batch, gathered.rows(here.start, here.stop), noise_variance)
        return sums_S

    def batches(self, rows: slice) -> Iterator[slice]:
        """Cut rows into batches of solves."""
        step = e_step.batch_rows(self.layout.num_own)
        for start in range(rows.start, rows.stop, step):
            yield slice(start, min(start + step, rows.stop))

    def _solve_batch(self, batch: slice, gathered: Tables, noise_variance: float) -> torch.Tensor:
        statistics = self._statistics(batch, gathered)
        posterior = self._posterior(statistics, noise_variance)
        if self.failed_row is None and not posterior.is_finite:
            failed_B = ~posterior.log_determinant_B.isfinite()
            self.failed_row = self.start + batch.start + int(failed_B.int().argmax())
        self.mean_nR[:, batch], self.covariance_TR[:, batch] = posterior.mean_nB, posterior.covariance_TB
        error_B = precision_B = None
        if self.sums_errors or self.precision_R is not None:
            error_B = e_step.squared_errors(posterior, statistics, self.layout, self.point)
        if self.precision_R is not None:
            assert error_B is not None
            precision_B = e_step.updated_precision(error_B, statistics.count_B, self.dof, noise_variance)
            self.precision_R[batch] = precision_B.float()
        return m_step.row_sums(posterior, statistics, error_B, precision_B, self.dof, self.layout)

    def _statistics(self, batch: slice, gathered: Tables) -> Statistics:
        panels = gathered.plain[: len(self.layout.widths)]
        assert gathered.by_value is not None, "the vectors of the other side are gathered by value"
        if gathered.by_square is not None:
            self.square_R[batch] = gathered.by_square[:, 0]
        prior_mean_nB = self.prior.mean_n.unsqueeze(1).expand(-1, batch.stop - batch.start)
        if len(gathered.plain) > len(panels):
            # m_u = m + (sum of w_i) / sqrt(n_u)
            prior_mean_nB = prior_mean_nB + (gathered.plain[-1] * self.root_R[batch].unsqueeze(1)).T
        return Statistics(
            gram_WB=_batch_last(panels),
            weighted_DB=gathered.by_value.T,
            square_B=self.square_R[batch],
            count_B=self.count_R[batch],
            precision_B=None if self.precision_R is None else self.precision_R[batch],
            prior_mean_nB=prior_mean_nB.float(),
        )

    def _posterior(self, statistics: Statistics, noise_variance: float) -> Posterior:
        single = statistics.to(torch.float32)
        posterior = e_step.update(single, self.prior, noise_variance, self.layout)
        if posterior.is_finite:
            return posterior
        # A precision that rounding of float32 has made indefinite.
        double = statistics.to(torch.float64)
        return e_step.update(double, self.prior, noise_variance, self.layout).to(torch.float32)

    def tables(self, rows: slice) -> Tables:
        """What the other side gathers of some rows: moments (panels) and pattern; vectors; precisions."""
        num_rows = rows.stop - rows.start
        panels = [self.mean_nR.new_empty((num_rows, width)) for width in self.layout.widths]
        vectors_RD = self.mean_nR.new_empty((num_rows, self.layout.num_own + 1))
        for batch in self.batches(rows):
            here = slice(batch.start - rows.start, batch.stop - rows.start)
            covariance_TB = None if self.point else self.covariance_TR[:, batch]
            vectors_DB, moments_WB = e_step.moments_of(self.mean_nR[:, batch], covariance_TB, self.layout)
            if self.precision_R is not None:
                vectors_DB, moments_WB = (part * self.precision_R[batch] for part in (vectors_DB, moments_WB))
            vectors_RD[here] = vectors_DB.T
            for panel, moments in zip(panels, moments_WB.split(self.layout.widths), strict=True):
                panel[here] = moments.T
        pattern = [] if self.pattern_Rn is None else [self.pattern_Rn[rows]]
        by_square = None if self.precision_R is None else self.precision_R[rows].unsqueeze(1)
        return Tables([*panels, *pattern], vectors_RD, by_square)

    def vectors(self) -> torch.Tensor:
        """E[z] of all rows of this rank: [R, D]."""
        vectors_RD = self.mean_nR.new_ones((self.num_rows, self.layout.num_own + 1))
        vectors_RD[:, self.layout.own_n] = self.mean_nR.T
        return vectors_RD

    def columns(self) -> dict[str, torch.Tensor]:
        """Columns of a saved table: means, and covariances as upper triangles read row by row."""
        columns = {"mean": self.mean_nR.T.contiguous(), "covariance": self.covariance_TR[self.layout.triangle_T].T}
        if self.precision_R is not None:
            columns["precision"] = self.precision_R
        if self.pattern_Rn is not None:
            columns["pattern"] = self.pattern_Rn
        return {name: column.contiguous() for name, column in columns.items()}

    def take_columns(self, columns: dict[str, torch.Tensor]) -> None:
        """The reverse of `columns`."""
        device = self.mean_nR.device
        self.mean_nR = columns["mean"].to(device).T.contiguous()
        self.covariance_TR[self.layout.triangle_T] = columns["covariance"].to(device).T
        self.precision_R = columns["precision"].to(device) if "precision" in columns else None
        self.pattern_Rn = columns["pattern"].to(device) if "pattern" in columns else None


def _batch_last(panels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Panels [B, columns] side by side, turned: [W, B]."""
    turned_WB = panels[0].new_empty((sum(panel.shape[1] for panel in panels), len(panels[0])))
    # Tile by tile, which torch.cat of turned panels is not.
    for part, panel in zip(turned_WB.split([panel.shape[1] for panel in panels]), panels, strict=True):
        part.copy_(panel.T)
    return turned_WB
