"""The E step and the M step of matrix factorization by variational EM.

Sources: Lim & Teh 2007 (full covariances), Salakhutdinov & Mnih 2007 (PMF, adaptive priors).

In: what the other side gathered for a batch of rows. For a user u, with z of the items in R(u):

    gram_u = sum over i in R(u) of E[z_i z_i^T]              weighted_u = sum over i in R(u) of (r_ui - mu) E[z_i]

Out: the posterior of the rows, and sums from which the M step makes priors, noise and the bound. The item side is
the same code with the sides exchanged. Shapes: see factors.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from recsys_dist.kernels.symmetric import spd_inverse
from recsys_dist.models.factors import Layout, augmented, packed_size, second_moments

BATCH_ENTRIES = 1 << 19
"""Matrix entries of one batch of solves: about what the second-level cache holds."""


@dataclass(frozen=True)
class Prior:
    """Normal(mean, covariance) over the own entries of one side; float64 on the run's device."""

    mean_n: torch.Tensor
    covariance_nn: torch.Tensor

    @classmethod
    def isotropic(cls, num_own: int, variance: float, device: torch.device) -> Prior:
        """Normal(0, variance I)."""
        eye_nn = torch.eye(num_own, dtype=torch.float64, device=device)
        return cls(torch.zeros(num_own, dtype=torch.float64, device=device), variance * eye_nn)

    @cached_property
    def precision_nn(self) -> torch.Tensor:
        """Lambda, the inverse of the covariance."""
        # inv_ex gives numbers that are not finite where inv raises: the caller checks its sums once.
        precision_nn: torch.Tensor = torch.linalg.inv_ex(self.covariance_nn).inverse
        return precision_nn


@dataclass(frozen=True)
class Posterior:
    """Normal(mean, covariance) of each row of a batch, what the other side gathers of it, and the batch's sums."""

    mean_Bn: torch.Tensor
    covariance_TB: torch.Tensor
    """Own pairs in packed order."""
    vectors_BD: torch.Tensor
    """E[z]"""
    moments_WB: torch.Tensor
    """E[z z^T], packed and padded"""
    sums_S: torch.Tensor
    """float64 over the rated rows: their number, sum of E[x], of E[x x^T] in packed order, of log det Cov."""


def num_sums(num_own: int) -> int:
    """S, the length of `Posterior.sums_S`."""
    return 1 + num_own + packed_size(num_own) + 1


def batch_rows(num_own: int) -> int:
    """Rows solved together: fixed by the size of the model alone, so that results never depend on ranks."""
    return max(16, BATCH_ENTRIES // num_own**2)


def update(
    gram_WB: torch.Tensor,
    weighted_DB: torch.Tensor,
    rated_B: torch.Tensor,
    prior: Prior,
    noise_variance: float,
    layout: Layout,
    point: bool,
) -> Posterior:
    """E step of a batch of rows, in the precision of the statistics.

    `rated_B` marks rows with a rating: only these enter the sums, the others keep their prior as posterior.
    `point` leaves the covariances out of the moments.
    """
    n, dtype = layout.num_own, gram_WB.dtype
    # sigma^2 precision_u = gram_u[own, own] + sigma^2 Lambda
    scaled_nnB = gram_WB.index_select(0, layout.own_pairs_nn).view(n, n, -1)
    scaled_nnB += (noise_variance * prior.precision_nn).to(dtype).unsqueeze(2)
    # right_u = weighted_u[own] - gram_u[own, constant] + sigma^2 Lambda m
    right_nB = weighted_DB[layout.own_n] - gram_WB[layout.constant_pairs_n]
    right_nB += (noise_variance * (prior.precision_nn @ prior.mean_n)).to(dtype).unsqueeze(1)
    inverse_nnB, log_determinant_B = spd_inverse(scaled_nnB)
    # E[x_u] = (sigma^2 precision_u)^-1 right_u          Cov(x_u) = sigma^2 (sigma^2 precision_u)^-1
    mean_Bn = (inverse_nnB * right_nB.unsqueeze(0)).sum(1).T.contiguous()
    covariance_TB = inverse_nnB.reshape(n * n, -1).index_select(0, layout.own_entries_T).mul_(noise_variance)
    log_det_B = n * math.log(noise_variance) - log_determinant_B
    vectors_BD = augmented(mean_Bn, layout)
    moments_WB = second_moments(vectors_BD, None if point else covariance_TB, layout)
    sums_S = _sums(mean_Bn, covariance_TB, log_det_B, rated_B, layout)
    return Posterior(mean_Bn, covariance_TB, vectors_BD, moments_WB, sums_S)


def _sums(
    mean_Bn: torch.Tensor,
    covariance_TB: torch.Tensor,
    log_det_B: torch.Tensor,
    rated_B: torch.Tensor,
    layout: Layout,
) -> torch.Tensor:
    weight_B = rated_B.to(mean_Bn.dtype)
    weighted_Bn = mean_Bn.double() * weight_B.double().unsqueeze(1)
    # sum of E[x x^T] = sum of E[x] E[x]^T + sum of Cov
    square_nn = weighted_Bn.T @ mean_Bn.double()
    second_T = square_nn[layout.own_rows_T, layout.own_columns_T]
    second_T += (covariance_TB * weight_B).sum(1, dtype=torch.float64)
    log_det = (log_det_B.double() * weight_B).sum()
    return torch.cat([weight_B.sum(dtype=torch.float64).view(1), weighted_Bn.sum(0), second_T, log_det.view(1)])


def squared_error(
    posterior: Posterior, gram_WB: torch.Tensor, weighted_DB: torch.Tensor, layout: Layout
) -> torch.Tensor:
    """sum of E[(r~ - a . z)^2] - r~^2 = trace(E[z z^T] gram) - 2 E[z] . weighted over the batch, in float64."""
    product_P = (posterior.moments_WB.double() * gram_WB).sum(1)[: len(layout.pair_rows_P)]
    # trace(A G) counts each pair off the diagonal twice
    trace = 2 * product_P.sum() - product_P[layout.pair_rows_P == layout.pair_columns_P].sum()
    return trace - 2 * (posterior.vectors_BD.double() * weighted_DB.T).sum()


def adapted_prior(sums_S: torch.Tensor, layout: Layout, least_variance: float) -> Prior:
    """M step of a prior: the mean and the full covariance of the rated rows.

    `least_variance` is added in every direction, so that a prior on which all rows agree can still be inverted.
    """
    count, first_n, second_nn = _unpack(sums_S, layout)
    mean_n = first_n / count
    covariance_nn = second_nn / count - torch.outer(mean_n, mean_n)
    covariance_nn.diagonal().add_(least_variance)
    return Prior(mean_n, covariance_nn)


def ridge_noise(
    squared_error: float, num_ratings: int, sides: list[tuple[torch.Tensor, Layout]], regularization: float
) -> float:
    """M step of the noise where the priors are Normal(0, sigma^2 / lambda I): it scales them as well.

    sigma^2 = (squared error + lambda sum of E|x|^2) / (ratings + own entries), over users and items together.
    """
    penalty, own_entries = 0.0, 0.0
    for sums_S, layout in sides:
        count, _, second_nn = _unpack(sums_S, layout)
        penalty += regularization * float(second_nn.diagonal().sum())
        own_entries += layout.num_own * float(count)
    return (squared_error + penalty) / (num_ratings + own_entries)


def divergence(sums_S: torch.Tensor, prior: Prior, layout: Layout) -> float:
    """KL(posterior || prior) summed over the rated rows, from their sums.

    2 KL = trace(Lambda E[(x - m)(x - m)^T]) - n + log det Sigma - log det Cov
    """
    count, first_n, second_nn = _unpack(sums_S, layout)
    cross_nn = torch.outer(first_n, prior.mean_n)
    centred_nn = second_nn - cross_nn - cross_nn.T + count * torch.outer(prior.mean_n, prior.mean_n)
    trace = (prior.precision_nn * centred_nn).sum()
    log_det = count * torch.logdet(prior.covariance_nn) - sums_S[-1]
    return float(0.5 * (trace - count * layout.num_own + log_det))


def log_likelihood(squared_error: float, num_ratings: int, noise_variance: float) -> float:
    """sum of E[log Normal(r | mu + a . z, sigma^2)] over the ratings."""
    return -0.5 * (num_ratings * math.log(2 * math.pi * noise_variance) + squared_error / noise_variance)


def _unpack(sums_S: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Number of rows, sum of E[x] [n] and sum of E[x x^T] [n, n]."""
    n = layout.num_own
    second_nn = sums_S.new_empty((n, n))
    second_nn[layout.own_rows_T, layout.own_columns_T] = sums_S[1 + n : -1]
    second_nn[layout.own_columns_T, layout.own_rows_T] = sums_S[1 + n : -1]
    return sums_S[0], sums_S[1 : 1 + n], second_nn
