"""Constrained priors: a row's ratings shift its prior mean (Salakhutdinov & Mnih 2007, section 4).

    m_u = m + sum over i in R(u) of w_i / sqrt(n_u) = m + (F W)_u          F: rating indicators, rows scaled

The rows of W have a Normal prior with covariance Lambda^-1 / lambda. Given the posterior means X of the rows, the
posterior mean of W therefore solves the same system for all n columns, for any Lambda:

    A W = F^T (X - m)     with A = F^T F + lambda I, whose diagonal is lambda + sum over u in R(i) of 1 / n_u

One side carries W, and it moves the means of the other: C and M rows, n own entries. The rows may be spread over
ranks, so a refinement asks for sums over the ratings, and the caller passes in inner products.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from recsys_dist.dataset.manifest import Side

Inner = Callable[[Sequence[tuple[torch.Tensor, torch.Tensor]]], torch.Tensor]
"""Inner products of the columns of P pairs of tables [R, n], over the rows of all ranks: float64 [P, n]."""

ENOUGH = 1.0
"""One step suffices if it leaves at most this share of the squared residual, preconditioned, on average over the
columns. Where rows have few ratings, A is almost its diagonal, and a step leaves .03 to .5. Where they have many,
the residual may even grow while W comes nearer to the solution, and a second step is worth its time."""

SumTo = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]
"""Sums over the ratings of each row of one side, of tables of the other [R, n]."""


class Asked(NamedTuple):
    """Sums over the ratings of each row of the side `to`, of rows of the other side [R, n]."""

    to: Side
    rows_Rn: torch.Tensor


Refinement = Generator[Asked, torch.Tensor, torch.Tensor]
"""Asks for sums, and returns the constraint."""


@dataclass(frozen=True)
class Constraint:
    """The constraint that one side carries, and what its system is made of."""

    carriers: Side
    moved: Side
    root_M1: torch.Tensor
    """1 / sqrt(n_u), 0 without ratings."""
    spread_C1: torch.Tensor
    """Sum over u in R(i) of 1 / n_u."""
    weight: float
    """lambda"""
    inner: Inner

    def refine(self, start_Cn: torch.Tensor, left_Mn: torch.Tensor) -> Refinement:
        """One or two steps of conjugate gradients, preconditioned by the diagonal of A: the refined W [C, n].

        `start` is W, and `left` is X - m - F W. The columns are systems of their own, and a solved one does not
        change. The next epoch continues from the result.
        """
        right_Cn = yield Asked(self.carriers, self.root_M1 * left_Mn)
        residual_Cn = _moved(right_Cn, -self._weight(right_Cn), start_Cn)
        inverse_C1 = 1 / (self.weight + self.spread_C1)
        direction_Cn = inverse_C1 * residual_Cn
        image_Cn = yield from self._product(direction_Cn)
        # For the residual r' = r - length A d after the step, and the preconditioner M = 1 / diagonal:
        # r' M r' = length^2 (A d) M (A d) - r M r, which needs no further sum over rows.
        pairs = [(residual_Cn, direction_Cn), (direction_Cn, image_Cn), (image_Cn, inverse_C1 * image_Cn)]
        before_n, power_n, of_image_n = self.inner(pairs)
        length_n = _ratio(before_n, power_n)
        refined_Cn = _moved(start_Cn, length_n, direction_Cn)
        after_n = (length_n.square() * of_image_n - before_n).clamp(min=0)
        left_n = _ratio(after_n, before_n)
        if left_n.mean() <= ENOUGH:
            return refined_Cn
        residual_Cn = _moved(residual_Cn, -length_n, image_Cn)
        direction_Cn = _moved(inverse_C1 * residual_Cn, left_n, direction_Cn)
        image_Cn = yield from self._product(direction_Cn)
        (power_n,) = self.inner([(direction_Cn, image_Cn)])
        return _moved(refined_Cn, _ratio(after_n, power_n), direction_Cn)

    def _product(self, rows_Cn: torch.Tensor) -> Refinement:
        """A times rows."""
        moved_Mn = yield Asked(self.moved, rows_Cn)
        image_Cn = yield Asked(self.carriers, self.root_M1.square() * moved_Mn)
        return _moved(image_Cn, self._weight(image_Cn), rows_Cn)

    def _weight(self, like: torch.Tensor) -> torch.Tensor:
        """lambda; infinite if it is too large for float32."""
        return like.new_tensor(self.weight)


def _ratio(above_n: torch.Tensor, below_n: torch.Tensor) -> torch.Tensor:
    """above / below, and 0 for solved systems."""
    return torch.where(below_n > 0, above_n / torch.where(below_n > 0, below_n, 1.0), 0.0)


def _moved(rows_Cn: torch.Tensor, length_n: torch.Tensor, direction_Cn: torch.Tensor) -> torch.Tensor:
    """rows + length x direction, column by column."""
    return torch.addcmul(rows_Cn, length_n.to(rows_Cn.dtype), direction_Cn)


def refined(refinements: Mapping[Side, Refinement], sum_to: Mapping[Side, SumTo]) -> dict[Side, torch.Tensor]:
    """Run refinements to their ends; where two ask for sums to the same side, one exchange makes both.

    `sum_to` makes the sums over the ratings of each row of a side.
    """
    asked, done = {carriers: next(one) for carriers, one in refinements.items()}, {}
    while asked:
        side = next(iter(asked.values())).to
        served = {carriers: rows_Rn for carriers, (to, rows_Rn) in asked.items() if to == side}
        for carriers, sums_Rn in zip(served, sum_to[side](list(served.values())), strict=True):
            try:
                asked[carriers] = refinements[carriers].send(sums_Rn)
            except StopIteration as end:
                done[carriers] = end.value
                del asked[carriers]
    return done
