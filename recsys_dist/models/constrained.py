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

Product = Callable[[torch.Tensor], torch.Tensor]
ColumnSums = Callable[[torch.Tensor], torch.Tensor]

PATTERN_STEPS = 2
"""Of conjugate gradients in each epoch; the next one goes on from there."""


def conjugate_gradients(
    product: Product, right_Cn: torch.Tensor, start_Cn: torch.Tensor, column_sums: ColumnSums, steps: int
) -> torch.Tensor:
    """`steps` of conjugate gradients from `start` on product(X) = right, each column for itself: [C, n].

    `column_sums` adds up the rows [C, n] of all ranks in float64. A column that is solved stays as it is.
    Source: Hestenes & Stiefel 1952.
    """
    solution_Cn = start_Cn.clone()
    residual_Cn = right_Cn - product(start_Cn)
    direction_Cn = residual_Cn.clone()
    square_n = column_sums(residual_Cn.double().square())
    for _ in range(steps):
        image_Cn = product(direction_Cn)
        step_n = _ratio(square_n, column_sums(direction_Cn.double() * image_Cn.double()))
        solution_Cn += step_n.to(right_Cn.dtype) * direction_Cn
        residual_Cn -= step_n.to(right_Cn.dtype) * image_Cn
        next_square_n = column_sums(residual_Cn.double().square())
        direction_Cn = residual_Cn + _ratio(next_square_n, square_n).to(right_Cn.dtype) * direction_Cn
        square_n = next_square_n
    return solution_Cn


def _ratio(above_n: torch.Tensor, below_n: torch.Tensor) -> torch.Tensor:
    """0 where both are."""
    return torch.where(below_n > 0, above_n / torch.where(below_n > 0, below_n, 1.0), 0.0)
