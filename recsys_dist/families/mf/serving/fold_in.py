"""Fold-in of a new user into a matrix factorization: the E step of training, in float64, from the ratings alone.

With noise per user, training updates the precision once an epoch; fold-in iterates until it converges.

    r_ui ~ Normal(mu + a_u . z_i, sigma^2 / (alpha_u beta_i))          a_u = (p_u, b_u, 1), z_i = (q_i, 1, c_i)
    x_u = (p_u, b_u) ~ Normal(m_U + sum of w_i / sqrt(N), Lambda^-1)   alpha_u ~ Gamma(nu / 2, rate nu / 2)

Sufficient statistics, given the posterior of the items:

    G = sum of E[beta_i] E[z_i z_i^T]
    h = sum of E[beta_i] (r_ui - mu) E[z_i]
    s2 = sum of E[beta_i] (r_ui - mu)^2

K factors, n = K + 1 own entries, D = K + 2, N ratings of the new user, T pairs of own entries (see covariances.py)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recsys_dist.families.mf.serving.facts import MfFacts

STANDS_STILL = 1e-13
"""Relative change of the precision at which the iteration stops."""
MAX_ROUNDS = 1000


@dataclass(frozen=True)
class RatedItems:
    """Posteriors of the N items that the user rated, and the ratings minus mu."""

    vector_NK: torch.Tensor
    bias_N: torch.Tensor
    precision_N: torch.Tensor
    """E[beta_i], float64"""
    constraint_Nn: torch.Tensor | None
    """w_i, if the priors of users are constrained."""
    residual_N: torch.Tensor
    """float64"""


@dataclass(frozen=True)
class Solved:
    """E[x] and Cov(x) of the new user in float64 (None for a point estimate), and E[alpha]."""

    mean_n: torch.Tensor
    covariance_nn: torch.Tensor | None
    precision: float


@dataclass(frozen=True)
class _Statistics:
    gram_DD: torch.Tensor
    weighted_D: torch.Tensor
    square_sum: torch.Tensor


def solve_posterior(
    spec: MfFacts, items: RatedItems, item_covariance_nn: torch.Tensor | None, is_diagonal: bool
) -> Solved:
    """Alternate x given alpha and alpha given x until convergence; alpha stays 1 with shared noise.

    `item_covariance_nn` is the sum of E[beta_i] Cov(y_i), y_i = (q_i, c_i); without it, items and user are point
    estimates. `is_diagonal` returns the exact mean, and the variance of each entry given the others.
    """
    gathered = _gather(items, item_covariance_nn)
    prior_mean_n = torch.tensor(spec.prior_mean, dtype=torch.float64, device=gathered.gram_DD.device)
    if items.constraint_Nn is not None:
        # m_u = m_U + sum of w_i / sqrt(n_u)
        prior_mean_n += items.constraint_Nn.double().sum(0) / len(items.constraint_Nn) ** 0.5
    prior_nn = torch.tensor(spec.prior_covariance, dtype=torch.float64, device=prior_mean_n.device)
    prior_precision_nn, count, precision = torch.linalg.inv(prior_nn), len(items.residual_N), 1.0
    for _ in range(MAX_ROUNDS):
        scale = precision / spec.noise_variance
        mean_n, covariance_nn = _own(gathered, scale, prior_mean_n, prior_precision_nn, is_diagonal)
        known_nn = None if item_covariance_nn is None else covariance_nn
        if spec.user_precision_dof is None:
            break
        # E[alpha] = (nu + n_u) / (nu + err / sigma^2)
        error = _expected_error(gathered, mean_n, known_nn) / spec.noise_variance
        before, precision = precision, (spec.user_precision_dof + count) / (spec.user_precision_dof + error)
        if abs(precision - before) <= STANDS_STILL * precision:
            break
    return Solved(mean_n, known_nn, precision)


def _gather(items: RatedItems, item_covariance_nn: torch.Tensor | None) -> _Statistics:
    vector_NK, one_N1 = items.vector_NK.double(), torch.ones_like(items.bias_N.double()).unsqueeze(1)
    z_ND = torch.cat([vector_NK, one_N1, items.bias_N.double().unsqueeze(1)], 1)
    residual_N, weight_N = items.residual_N, items.precision_N
    weighted_ND = weight_N.unsqueeze(1) * z_ND
    # E[z z^T] = E[z] E[z]^T + Cov(z); all entries but K are own entries
    gram_DD = weighted_ND.T @ z_ND
    if item_covariance_nn is not None:
        constant = vector_NK.shape[1]
        own_n = torch.tensor([*range(constant), constant + 1], device=gram_DD.device)
        gram_DD[own_n.unsqueeze(1), own_n] += item_covariance_nn
    return _Statistics(gram_DD, weighted_ND.T @ residual_N, (weight_N * residual_N.square()).sum())


def _own(
    gathered: _Statistics,
    scale: float,
    prior_mean_n: torch.Tensor,
    prior_precision_nn: torch.Tensor,
    is_diagonal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """E[x] and Cov(x) given alpha; `scale` is alpha / sigma^2."""
    n = len(prior_mean_n)
    # precision = alpha / sigma^2 G[own, own] + Lambda
    precision_nn = scale * gathered.gram_DD[:n, :n] + prior_precision_nn
    # right = alpha / sigma^2 (h[own] - G[own, constant]) + Lambda m
    right_n = scale * (gathered.weighted_D[:n] - gathered.gram_DD[:n, n]) + prior_precision_nn @ prior_mean_n
    covariance_nn = torch.linalg.inv(precision_nn)
    mean_n = covariance_nn @ right_n
    return mean_n, precision_nn.diagonal().reciprocal().diag() if is_diagonal else covariance_nn


def _expected_error(gathered: _Statistics, mean_n: torch.Tensor, covariance_nn: torch.Tensor | None) -> float:
    """err = s2 - 2 E[a] . h + trace(E[a a^T] G)"""
    a_D, n = torch.nn.functional.pad(mean_n, (0, 1), value=1.0), len(mean_n)
    error = gathered.square_sum - 2 * a_D @ gathered.weighted_D + a_D @ gathered.gram_DD @ a_D
    if covariance_nn is not None:
        error = error + (covariance_nn * gathered.gram_DD[:n, :n]).sum()
    return float(error)
