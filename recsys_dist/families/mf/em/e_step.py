"""The E step of matrix factorization by variational EM: posteriors of a batch of rows.

    r_ui ~ Normal(mu + a_u . z_i, sigma^2 / (alpha_u beta_i))
    x_u ~ Normal(m_u, Lambda^-1)          m_u = m + sum over i in R(u) of w_i / sqrt(n_u), see constrained.py
    alpha_u ~ Gamma(nu / 2, nu / 2)       the row's precision is its posterior mean; 1 with shared noise

Sources: Lim & Teh 2007 (full covariances), Salakhutdinov & Mnih 2007 (PMF, adaptive and constrained priors),
Lakshminarayanan, Bouchard & Archambeau 2011 (robust Bayesian matrix factorization: gamma precisions).

In: sufficient statistics of a batch of rows. For a user u, with r~ = r - mu and sums over the items in R(u):

    gram_u = sum of beta_i E[z_i z_i^T]
    weighted_u = sum of beta_i r~_ui E[z_i]
    square_u = sum of beta_i r~_ui^2

Out: their posteriors. The item side runs the same code with the sides swapped. The batch is the last dimension.
Shapes: see layout.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from recsys_dist.families.mf.em.layout import CACHE_LINE_FLOATS, PanelLayout, second_moments
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.kernels.one_thread import one_thread
from recsys_dist.kernels.symmetric import spd_solve

BATCH_ENTRIES = 1 << 21
"""Matrix entries per batch of solves: enough to amortise the calls, few enough for memory."""
LEAST_BATCH, LARGEST_BATCH = 192, 1 << 14
"""Rows per batch. With fewer, calls cost more than arithmetic. From 32768 numbers on, torch splits a sum by
threads, and its bits depend on their number."""

PAIRS_AT_ONCE = 16
"""Rows of packed pairs summed together."""
ENTRIES_AT_ONCE = 1 << 15
"""Entries of covariances summed together: few enough that their conversion to float64 stays in the cache."""


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of a batch of rows, gathered from the other side, in the precision of the solves."""

    gram_WB: torch.Tensor
    weighted_DB: torch.Tensor
    square_B: torch.Tensor
    """float64"""
    count_B: torch.Tensor
    """float64: number of ratings per row"""
    precision_B: torch.Tensor | None
    """E[alpha] of the rows before this step; None with shared noise."""
    prior_mean_nB: torch.Tensor
    """m_u"""

    def padded(self, padding_B: torch.Tensor, layout: PanelLayout) -> Statistics:
        """A copy with each own entry's diagonal of the gram matrix raised by the fraction `padding_B`."""
        squares_n = layout.bordered_pairs_nm.view(layout.num_own, -1).diagonal()
        gram_WB = self.gram_WB.clone()
        gram_WB[squares_n] *= 1 + padding_B
        return replace(self, gram_WB=gram_WB)

    def to(self, dtype: torch.dtype) -> Statistics:
        """A copy with the inputs of the solves in another precision."""
        return replace(
            self,
            gram_WB=self.gram_WB.to(dtype),
            weighted_DB=self.weighted_DB.to(dtype),
            precision_B=None if self.precision_B is None else self.precision_B.to(dtype),
            prior_mean_nB=self.prior_mean_nB.to(dtype),
        )


@dataclass(frozen=True)
class Posterior:
    """Normal(mean, covariance) of each row of a batch."""

    mean_nB: torch.Tensor
    covariance_TB: torch.Tensor
    """Own pairs in packed order."""
    log_determinant_B: torch.Tensor
    """Log determinant of the covariance; float64."""

    @property
    def is_finite(self) -> bool:
        """Whether every row was solved."""
        return bool(torch.isfinite(self.log_determinant_B).all())

    def covariance_sum(self, weight_B: torch.Tensor, layout: PanelLayout) -> torch.Tensor:  # noqa: ARG002
        """Weighted sum of the covariances in packed order: float64 [T]."""
        num_pairs = max(PAIRS_AT_ONCE, ENTRIES_AT_ONCE // max(1, len(weight_B)))
        parts: Iterable[torch.Tensor] = self.covariance_TB.split(num_pairs)
        if not (weight_B == 1).all():
            weight_B = weight_B.to(self.covariance_TB.dtype)
            parts = (pairs_TB * weight_B for pairs_TB in parts)
        return torch.cat([pairs_TB.sum(1, dtype=torch.float64) for pairs_TB in parts])

    def to(self, dtype: torch.dtype) -> Posterior:
        """A copy in another precision."""
        return Posterior(self.mean_nB.to(dtype), self.covariance_TB.to(dtype), self.log_determinant_B)


def batch_rows(num_own: int) -> int:
    """Rows solved together. Depends only on the model size, so that results never depend on ranks."""
    # A multiple of a cache line, so that no row of a batch straddles two lines.
    rows = BATCH_ENTRIES // num_own**2 // CACHE_LINE_FLOATS * CACHE_LINE_FLOATS
    return min(max(LEAST_BATCH, rows), LARGEST_BATCH)


def update(statistics: Statistics, prior: Prior, noise_variance: float, layout: PanelLayout) -> Posterior:
    """E step of a batch of rows, given their precisions."""
    n, gram_WB = layout.num_own, statistics.gram_WB
    scaled_precision_nn = (noise_variance * prior.precision_nn).to(gram_WB.dtype)
    # sigma^2 precision_u = alpha_u gram_u[own, own] + sigma^2 Lambda
    # right_u = alpha_u (weighted_u[own] - gram_u[own, constant]) + sigma^2 Lambda m_u
    bordered_nmB = gram_WB.index_select(0, layout.bordered_pairs_nm).view(n, n + 1, -1)
    scaled_nnB, right_nB = bordered_nmB[:, :n], bordered_nmB[:, n]
    torch.sub(statistics.weighted_DB[layout.own_n], right_nB, out=right_nB)
    if statistics.precision_B is not None:
        bordered_nmB *= statistics.precision_B
    scaled_nnB += scaled_precision_nn.unsqueeze(2)
    with one_thread():
        right_nB += scaled_precision_nn @ statistics.prior_mean_nB
    log_determinant_B = spd_solve(bordered_nmB)
    # E[x_u] = (sigma^2 precision_u)^-1 right_u          Cov(x_u) = sigma^2 (sigma^2 precision_u)^-1
    covariance_TB = bordered_nmB.view(n * (n + 1), -1).index_select(0, layout.own_entries_T).mul_(-noise_variance)
    log_determinant_B = n * math.log(noise_variance) - log_determinant_B.double()
    return Posterior(right_nB, covariance_TB, log_determinant_B)


def vectors_of(mean_nB: torch.Tensor, layout: PanelLayout) -> torch.Tensor:
    """E[z] of posteriors: [D, B]"""
    vectors_DB = mean_nB.new_ones((layout.num_own + 1, mean_nB.shape[1]))
    vectors_DB[layout.own_n] = mean_nB
    return vectors_DB


def moments_of(
    mean_nB: torch.Tensor, covariance_TB: torch.Tensor | None, layout: PanelLayout
) -> tuple[torch.Tensor, torch.Tensor]:
    """E[z] [D, B] and E[z z^T] [W, B] of posteriors; without a covariance, of point estimates."""
    vectors_DB = vectors_of(mean_nB, layout)
    return vectors_DB, second_moments(vectors_DB, covariance_TB, layout)


def squared_errors(posterior: Posterior, statistics: Statistics, layout: PanelLayout, point: bool) -> torch.Tensor:
    """Sum of beta E[(r~ - a . z)^2] over the ratings of each row: float64 [B].

    = square - 2 E[z] . weighted + trace(E[z z^T] gram)          `point` ignores the covariances of the rows
    """
    vectors_DB, moments_WB = moments_of(posterior.mean_nB, None if point else posterior.covariance_TB, layout)
    cross_B = (vectors_DB.double() * statistics.weighted_DB).sum(0)
    return statistics.square_B - 2 * cross_B + _trace_of_product(moments_WB, statistics.gram_WB, layout)


def _trace_of_product(left_WB: torch.Tensor, right_WB: torch.Tensor, layout: PanelLayout) -> torch.Tensor:
    """trace(A G) of packed symmetric matrices; pairs off the diagonal count twice: float64 [B]."""
    trace_B = torch.zeros(left_WB.shape[1], dtype=torch.float64, device=left_WB.device)
    # A few pairs at a time stay in the cache; summing so few in float32 adds less error than their own rounding.
    parts = (table_WB.split(PAIRS_AT_ONCE) for table_WB in (left_WB, right_WB, layout.pair_counts_W1))
    for left, right, counts in zip(*parts, strict=True):
        trace_B += (left * right).mul_(counts).sum(0)
    return trace_B


def updated_precision(
    error_B: torch.Tensor, count_B: torch.Tensor, dof: float, noise_variance: float
) -> torch.Tensor:
    """E step of the precisions of rows: E[alpha] = (nu + count) / (nu + error / sigma^2), float64 [B]."""
    # Rounding of the float32 statistics may push the error of a perfect fit below 0.
    return (dof + count_B) / (dof + error_B.clamp(min=0) / noise_variance)
