"""Constrained priors: whom or what a row has rated moves its prior mean (Salakhutdinov & Mnih 2007, section 4).

    m_u = m + sum over i in R(u) of w_i / sqrt(n_u) = m + (F W)_u          F the indicator of ratings, rows scaled

W has a Normal prior with covariance Lambda^-1 / lambda, so that its posterior mean given the posterior means X of
the rows solves one system for all n columns, whatever Lambda is:

    (F^T F + lambda I) W = F^T (X - m)

C rows of W, n own entries; both may be spread over ranks: products and sums are handed in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from recsys_dist.families.mf.em.conjugate_gradients import ConjugateGradients

Product = Callable[[torch.Tensor], torch.Tensor]
ColumnSums = Callable[[torch.Tensor], torch.Tensor]

PATTERN_STEPS = 2
"""Of conjugate gradients in each epoch; the next one goes on from there."""


def solve_constraint(
    product: Product, right_Cn: torch.Tensor, start_Cn: torch.Tensor, column_sums: ColumnSums, steps: int
) -> torch.Tensor:
    """`steps` of conjugate gradients from `start` on product(W) = right, each column for itself: [C, n].

    `column_sums` adds up the rows [C, n] of all ranks in float64. A column that is solved stays as it is.
    """

    def inner(left_Cn: torch.Tensor, right_Cn: torch.Tensor) -> torch.Tensor:
        return column_sums(left_Cn.double() * right_Cn.double())

    constraint_Cn, solver = start_Cn, ConjugateGradients(right_Cn - product(start_Cn), inner)
    for _ in range(steps):
        constraint_Cn = constraint_Cn + solver.step(product(solver.direction_Rn))
    return constraint_Cn
