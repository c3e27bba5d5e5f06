"""The constraints of both sides in training: which rows carry them, their M step, and their penalties.

Formulas: see families/mf/em/constrained.py. `refine` and `measure` are collective.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.mf.em.constrained import Constraint, Refinement, SumTo, refined
from recsys_dist.families.mf.ranks.block_sums import BlockSums
from recsys_dist.families.mf.training.side import FactorSide

CARRIERS: dict[Side, Side] = {"items": "users", "users": "items"}
"""Each side that carries a constraint, and the side whose prior means it moves."""


class Constraints:
    """The constraints of the rows of this rank."""

    def __init__(
        self,
        sides: Mapping[Side, FactorSide],
        sum_to: Mapping[Side, SumTo],
        sum_over: Mapping[Side, BlockSums],
    ) -> None:
        """`sum_to` makes sums over the ratings of each row of a side, `sum_over` sums over its rows."""
        self._sides, self._sum_to, self._sum_over = sides, sum_to, sum_over
        self._spreads: dict[Side, torch.Tensor] = {}

    def take_counts(self) -> None:
        """Go on with the ratings of each row as they are counted now."""
        self._spreads.clear()

    def take_form(self, moved: set[Side]) -> None:
        """Give the rows that move the prior means of these sides a constraint vector, initially 0."""
        for carriers, side in CARRIERS.items():
            self._sides[carriers].carry_constraint(side in moved)
            self._sides[side].gather_constraint(side in moved)

    def refine(self, weight: float) -> None:
        """M step, with lambda: nearer to the constraints that the posterior means call for."""
        refinements = {
            carriers: self._refinement(carriers, moved, weight)
            for carriers, moved in CARRIERS.items()
            if self._sides[carriers].constraint_Rn is not None
        }
        for carriers, constraint_Rn in refined(refinements, self._sum_to).items():
            self._sides[carriers].constraint_Rn = constraint_Rn

    def _refinement(self, carriers: Side, moved: Side, weight: float) -> Refinement:
        side, carrier = self._sides[moved], self._sides[carriers]
        assert side.shift_Rn is not None
        assert carrier.constraint_Rn is not None
        inner = self._sum_over[carriers].of_products
        constraint = Constraint(carriers, moved, side.root_R1, self._spread(carriers, moved), weight, inner)
        left_Rn = torch.addcmul(side.centred(), side.root_R1, side.shift_Rn, value=-1)
        return constraint.refine(carrier.constraint_Rn, left_Rn)

    def _spread(self, carriers: Side, moved: Side) -> torch.Tensor:
        """The diagonal of F^T F for the rows of `carriers`: [R, 1]."""
        if carriers not in self._spreads:
            (self._spreads[carriers],) = self._sum_to[carriers]([self._sides[moved].root_R1.square()])
        return self._spreads[carriers]

    def measure(self, weight: float) -> None:
        """Compute lambda W^T W of each constraint and keep it at the side that the constraint moves."""
        for carriers, moved in CARRIERS.items():
            constraint_Rn, penalty_nn = self._sides[carriers].constraint_Rn, None
            if constraint_Rn is not None:
                penalty_nn = weight * self._sum_over[carriers].second_moment(constraint_Rn)
            self._sides[moved].constraint_nn = penalty_nn
