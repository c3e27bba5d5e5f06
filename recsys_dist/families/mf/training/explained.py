"""How much of the variance of the ratings the factors explain, beside the biases.

    mu + b_u + c_i + p_u . q_i,     p_u = p + dp_u,     q_i = q + dq_i     (p, q: means over the ratings)

p . dq_i and dp_u . q depend on the item or the user alone, so they count as biases. What is left is dp_u . dq_i.
Over ratings whose users and items are independent, its variance is trace(Cov(p) Cov(q)).

Shapes: see families/mf/em/layout.py; R rows of this rank.
"""

from __future__ import annotations

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.mf.training.side import FactorSide

LEAST_SHARE = 5e-3
"""Share of the variance of the ratings below which the factors are not worth their name."""
ROWS_AT_ONCE = 1 << 16


def note_of_biases(
    users: FactorSide, items: FactorSide, unit_variance: float, collectives: Collectives
) -> str | None:
    """A message if there are factors and they explain almost nothing. Collective.

    `unit_variance` is the variance of the ratings.
    """
    if users.layout.num_factors == 0:
        return None
    user_mean_n, user_covariance_nn = _moments(users, collectives)
    item_mean_n, item_covariance_nn = _moments(items, collectives)
    factors = float((user_covariance_nn[:-1, :-1] * item_covariance_nn[:-1, :-1]).sum()) / unit_variance
    if factors >= LEAST_SHARE:
        return None
    user_bias = _variance_along(item_mean_n, user_covariance_nn)
    item_bias = _variance_along(user_mean_n, item_covariance_nn)
    biases = (user_bias + item_bias) / unit_variance
    return (
        f"the factors explain {factors:.1%} of the variance of the ratings, and biases {biases:.1%}: "
        "this is little more than a model of biases"
    )


def _moments(side: FactorSide, collectives: Collectives) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [n] and covariance [n, n] of the posterior means, each row weighted by its ratings; of all ranks."""
    n = side.layout.num_own
    # sum of w (x, 1) (x, 1)^T
    sums_mm = torch.zeros((n + 1, n + 1), dtype=torch.float64, device=side.mean_nR.device)
    for start in range(0, side.num_rows, ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        mean_nB, count_B = side.mean_nR[:, here].double(), side.count_R[here].double()
        extended_mB = torch.cat([mean_nB, torch.ones_like(count_B).unsqueeze(0)])
        sums_mm += (extended_mB * count_B) @ extended_mB.T
    collectives.sum_(sums_mm)
    mean_n = sums_mm[:-1, -1] / sums_mm[-1, -1]
    return mean_n, sums_mm[:-1, :-1] / sums_mm[-1, -1] - torch.outer(mean_n, mean_n)


def _variance_along(other_mean_n: torch.Tensor, covariance_nn: torch.Tensor) -> float:
    """Variance of the bias of a row, together with its factors times the mean factors of the other side."""
    direction_n = other_mean_n.clone()
    direction_n[-1] = 1.0
    return float(direction_n @ covariance_nn @ direction_n)
