"""The M step of matrix factorization by variational EM: priors, noise and the bound, from sums over rows.

Model and sources: see e_step.py. S sums; other shapes: see layout.py. All sums are float64.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

from recsys_dist.families.mf.em.layout import PanelLayout, packed_size
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.kernels.one_thread import one_thread

LEAST_DOF, LARGEST_DOF = 0.1, 1e6
ROUNDING = 1e-6
"""Fraction of the largest variance that float32 sums of products may lose to rounding, about 6e-8 each."""


class RowPosterior(Protocol):
    """Normal posteriors of a batch of rows."""

    @property
    def mean_nB(self) -> torch.Tensor:
        """Means of the rows."""

    @property
    def log_determinant_B(self) -> torch.Tensor:
        """Log determinants of the covariances; float64."""

    def covariance_sum(self, weight_B: torch.Tensor, layout: PanelLayout) -> torch.Tensor:
        """Weighted sum of the covariances in packed order: float64 [T]."""


def num_sums(num_own: int) -> int:
    """S, the number of sums that `row_sums` returns."""
    return 1 + num_own + packed_size(num_own) + 4


def row_sums(
    posterior: RowPosterior,
    prior_mean_nB: torch.Tensor,
    count_B: torch.Tensor,
    error_B: torch.Tensor | None,
    precision_B: torch.Tensor | None,
    dof: float,
    layout: PanelLayout,
) -> torch.Tensor:
    """Sums over the rated rows of a batch: float64 [S].

    With d = x - m_u: the number of rows, E[d], E[d d^T] in packed order, log det Cov, alpha x error (0 without
    `error_B`), and two sums of the precisions.
    """
    rated_B = (count_B > 0).double()
    residual_nB = (posterior.mean_nB - prior_mean_nB).double()
    weighted_nB = residual_nB * rated_B
    # sum of E[d d^T] = sum of E[d] E[d]^T + sum of Cov
    with one_thread():
        square_nn = weighted_nB @ residual_nB.T
    second_T = square_nn[layout.own_rows_T, layout.own_columns_T]
    second_T += posterior.covariance_sum(rated_B, layout)
    log_determinant = (posterior.log_determinant_B * rated_B).sum().view(1)
    error = rated_B.new_zeros(1)
    if error_B is not None:
        error = (error_B if precision_B is None else error_B * precision_B).sum().view(1)
    precisions = _precision_sums(precision_B, count_B, dof, rated_B)
    return torch.cat([rated_B.sum().view(1), weighted_nB.sum(1), second_T, log_determinant, error, precisions])


def _precision_sums(
    precision_B: torch.Tensor | None, count_B: torch.Tensor, dof: float, rated_B: torch.Tensor
) -> torch.Tensor:
    """Sums over the rated rows: E[log alpha] - E[alpha], and count/2 E[log alpha] - KL(posterior || prior)."""
    if precision_B is None:
        return rated_B.new_zeros(2)
    # The posterior of alpha is Gamma(a, b) with a = (nu + count) / 2 and mean a / b.
    shape_B = (dof + count_B) / 2
    rate_B = shape_B / precision_B
    digamma_B = torch.digamma(shape_B)
    log_B = digamma_B - rate_B.log()
    prior_shape = torch.full_like(shape_B, dof / 2)
    # KL = (a - c) psi(a) - log G(a) + log G(c) + c (log b - log c) + a (c - b) / b     with c = nu / 2
    divergence_B = (
        (shape_B - prior_shape) * digamma_B
        - torch.lgamma(shape_B)
        + torch.lgamma(prior_shape)
        + prior_shape * (rate_B.log() - prior_shape.log())
        + shape_B * (prior_shape - rate_B) / rate_B
    )
    bound_B = count_B / 2 * log_B - divergence_B
    return torch.stack([((log_B - precision_B) * rated_B).sum(), (bound_B * rated_B).sum()])


class SideSums:
    """The sums of `row_sums` over all rows of one side, as named fields."""

    def __init__(self, sums_S: torch.Tensor, layout: PanelLayout) -> None:
        n = layout.num_own
        self.sums_S = sums_S
        self.count = float(sums_S[0])
        self.first_n = sums_S[1 : 1 + n]
        self.second_nn = sums_S.new_empty((n, n))
        self.second_nn[layout.own_rows_T, layout.own_columns_T] = sums_S[1 + n : -4]
        self.second_nn[layout.own_columns_T, layout.own_rows_T] = sums_S[1 + n : -4]
        last: list[float] = sums_S[-4:].tolist()
        self.log_determinant, self.squared_error, self.precision_statistic, self.precision_bound = last


def adapted_prior(
    sums: SideSums, prior: Prior, constraint_nn: torch.Tensor | None, least_variance: float
) -> Prior:
    """M step of a prior: mean and full covariance of the rated rows, relative to their constrained prior means.

    `constraint_nn` is lambda W^T W, the penalty of the constraint's weights under their prior. `least_variance` is
    added in every direction: the covariance stays invertible even if all rows agree. If rounding of float32 makes
    the covariance indefinite, because variances differ too much between directions, `ROUNDING` is added too.
    """
    shift_n = sums.first_n / sums.count
    second_nn = sums.second_nn if constraint_nn is None else sums.second_nn + constraint_nn
    covariance_nn = second_nn / sums.count - torch.outer(shift_n, shift_n)
    covariance_nn.diagonal().add_(least_variance)
    with one_thread():
        failed = torch.linalg.cholesky_ex(covariance_nn).info
    if failed:
        covariance_nn.diagonal().add_(ROUNDING * covariance_nn.diagonal().max())
    return Prior(prior.mean_n + shift_n, covariance_nn)


def ridge_noise(
    squared_error: float, num_ratings: int, sides: list[tuple[SideSums, PanelLayout]], regularization: float
) -> float:
    """M step of the noise for priors Normal(0, sigma^2 / lambda I), which scale with the noise.

    sigma^2 = (squared error + lambda sum of E|x|^2) / (ratings + own entries), over users and items together.
    """
    penalty, own_entries = 0.0, 0.0
    for sums, layout in sides:
        penalty += regularization * float(sums.second_nn.diagonal().sum())
        own_entries += layout.num_own * sums.count
    return (squared_error + penalty) / (num_ratings + own_entries)


def adapted_dof(sums: SideSums) -> float:
    """M step of nu: maximise the likelihood of the precisions' gamma prior, by bisection.

    Finds the root of log(nu/2) + 1 - psi(nu/2) + mean of (E[log alpha] - E[alpha]), which decreases in nu.
    """
    statistic = sums.precision_statistic / sums.count
    low, high = math.log(LEAST_DOF / 2), math.log(LARGEST_DOF / 2)
    for _ in range(60):
        middle = (low + high) / 2
        half = torch.tensor(math.exp(middle), dtype=torch.float64, device="cpu")
        if middle + 1 - float(torch.digamma(half)) + statistic > 0:
            low = middle
        else:
            high = middle
    return 2 * math.exp(low)


def divergence(sums: SideSums, prior: Prior, num_own: int) -> float:
    """KL(posterior || prior) summed over the rated rows, minus the precisions' part of the bound.

    2 KL = trace(Lambda E[d d^T]) - n + log det Sigma - log det Cov
    """
    trace = (prior.precision_nn * sums.second_nn).sum()
    log_det = sums.count * torch.logdet(prior.covariance_nn) - sums.log_determinant
    return float(0.5 * (trace - sums.count * num_own + log_det)) - sums.precision_bound


def log_likelihood(squared_error: float, num_ratings: int, noise_variance: float) -> float:
    """Sum of E[log Normal(r | mu + a . z, sigma^2)] over the ratings; `squared_error` includes the precisions."""
    return -0.5 * (num_ratings * math.log(2 * math.pi * noise_variance) + squared_error / noise_variance)
