"""Constrained priors: a row's ratings shift its prior mean (Salakhutdinov & Mnih 2007, section 4).

    m_u = m + sum over i in R(u) of w_i / sqrt(n_u) = m + (F W)_u          F: rating indicators, rows scaled

The rows of W have a Normal prior with covariance Lambda^-1 / lambda. Given the posterior means X of the rows, the
posterior mean of W therefore solves the same system for all n columns, for any Lambda:

    (F^T F + lambda I) W = F^T (X - m)

C rows of W, n own entries. The rows may be spread over ranks, so the caller passes in products and sums.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from recsys_dist.families.mf.em.conjugate_gradients import ConjugateGradients

Product = Callable[[torch.Tensor], torch.Tensor]
Inner = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

PATTERN_STEPS = 2
"""Conjugate gradient steps per epoch; the next epoch continues from the result."""


def solve_constraint(
    product: Product, residual_Cn: torch.Tensor, start_Cn: torch.Tensor, inner: Inner, steps: int
) -> torch.Tensor:
    """Run `steps` of conjugate gradients on A W = right from `start`, independently per column: [C, n].

    `product` multiplies by A; `residual` is right - A start. `inner` multiplies the columns of two tables [C, n]
    over the rows of all ranks, in float64: [n]. Solved columns do not change.
    """
    constraint_Cn, solver = start_Cn, ConjugateGradients(residual_Cn, inner)
    for number in range(1, steps + 1):
        image_Cn = product(solver.direction_Rn)
        constraint_Cn = constraint_Cn + solver.step(image_Cn, is_last=number == steps)
    return constraint_Cn
