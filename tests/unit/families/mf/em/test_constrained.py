"""A refinement of a constraint, against conjugate gradients on the dense system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.mf.em import constrained
from recsys_dist.families.mf.em.conjugate_gradients import ConjugateGradients
from recsys_dist.families.mf.em.constrained import Constraint, Refinement, refined


@dataclass
class Ratings:
    """A dense matrix of who rated what, users by items, and the exchanges that were asked for."""

    mask_UI: torch.Tensor
    weight: float = 2.0
    asked: list[tuple[Side, int]] = field(default_factory=list)

    @classmethod
    def drawn(cls, density: float, weight: float = 2.0) -> Ratings:
        mask = np.random.default_rng(0).random((40, 30)) < density
        mask[0] = False
        return cls(torch.from_numpy(mask).double(), weight)

    def towards(self, carriers: Side) -> torch.Tensor:
        """Movers by carriers."""
        return self.mask_UI if carriers == "items" else self.mask_UI.T

    def sums(self, to: Side, tables: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.asked.append((to, len(tables)))
        return [self.towards(to).T @ rows for rows in tables]

    def constraint(self, carriers: Side) -> Constraint:
        mask_MC = self.towards(carriers)
        count_M1 = mask_MC.sum(1, keepdim=True)
        root_M1 = torch.where(count_M1 > 0, count_M1.clamp(min=1).rsqrt(), 0.0)
        moved: Side = "users" if carriers == "items" else "items"
        return Constraint(carriers, moved, root_M1, mask_MC.T @ root_M1.square(), self.weight, products)

    def refinement(self, carriers: Side, start_Cn: torch.Tensor, target_Mn: torch.Tensor) -> Refinement:
        constraint = self.constraint(carriers)
        shift_Mn = constraint.root_M1 * (self.towards(carriers) @ start_Cn)
        return constraint.refine(start_Cn, target_Mn - shift_Mn)

    def refine(self, carriers: Side, start_Cn: torch.Tensor, target_Mn: torch.Tensor) -> torch.Tensor:
        return self.run({carriers: self.refinement(carriers, start_Cn, target_Mn)})[carriers]

    def run(self, refinements: dict[Side, Refinement]) -> dict[Side, torch.Tensor]:
        return refined(
            refinements,
            {
                "users": lambda tables: self.sums("users", tables),
                "items": lambda tables: self.sums("items", tables),
            },
        )

    def system(self, carriers: Side, target_Mn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A = F^T F + lambda I, and F^T target."""
        scaled_MC = self.constraint(carriers).root_M1 * self.towards(carriers)
        return scaled_MC.T @ scaled_MC + self.weight * torch.eye(
            scaled_MC.shape[1]
        ).double(), scaled_MC.T @ target_Mn


def products(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    return torch.stack([(left * right).sum(0) for left, right in pairs])


def rows(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 3)))


def preconditioned(matrix: torch.Tensor, right: torch.Tensor, start: torch.Tensor, steps: int) -> torch.Tensor:
    """Steps of conjugate gradients."""
    solver = ConjugateGradients(
        right - matrix @ start, lambda left, other: (left * other).sum(0), 1 / matrix.diagonal().unsqueeze(1)
    )
    for _ in range(steps):
        start = start + solver.step(matrix @ solver.direction_Rn)
    return start


@pytest.mark.parametrize("enough", [-1.0, np.inf], ids=["two steps", "one step"])
@pytest.mark.parametrize(("carriers", "num_carriers", "num_moved"), [("items", 30, 40), ("users", 40, 30)])
def test_a_refinement_is_preconditioned_conjugate_gradients(
    monkeypatch: pytest.MonkeyPatch, enough: float, carriers: Side, num_carriers: int, num_moved: int
) -> None:
    monkeypatch.setattr(constrained, "ENOUGH", enough)
    ratings, start, target = Ratings.drawn(0.3), rows(num_carriers, 1), rows(num_moved, 2)

    found = ratings.refine(carriers, start, target)

    expected = preconditioned(*ratings.system(carriers, target), start, 2 if enough < 0 else 1)
    torch.testing.assert_close(found, expected)


def test_with_one_rating_a_row_one_step_is_the_solution() -> None:
    mask_UI = torch.zeros(40, 30).double()
    mask_UI[torch.arange(40), torch.arange(40) % 30] = 1
    ratings, target = Ratings(mask_UI), rows(40, 2)

    found = ratings.refine("items", rows(30, 1), target)

    torch.testing.assert_close(found, torch.linalg.solve(*ratings.system("items", target)))
    assert ratings.asked == [("items", 1), ("users", 1), ("items", 1)]


def test_a_step_that_leaves_a_larger_residual_is_followed_by_another() -> None:
    ratings = Ratings.drawn(0.3, weight=0.1)

    ratings.refine("items", torch.zeros(30, 3).double(), rows(40, 2))

    assert len(ratings.asked) == 5


def test_solved_columns_stay_and_do_not_hide_the_others() -> None:
    ratings, target = Ratings.drawn(0.3), rows(40, 2)
    target[:, 2] = 0
    right = torch.linalg.solve(*ratings.system("items", target))

    from_zero = ratings.refine("items", torch.zeros(30, 3).double(), target)
    from_solution = ratings.refine("items", right, target)

    assert torch.equal(from_zero[:, 2], torch.zeros(30).double())
    assert from_zero[:, :2].abs().min() > 0
    torch.testing.assert_close(from_solution, right)


def test_two_refinements_share_exchanges_and_are_those_of_each_alone() -> None:
    ratings = Ratings.drawn(0.05)
    asked: dict[Side, tuple[torch.Tensor, torch.Tensor]] = {
        "items": (rows(30, 1), rows(40, 2)),
        "users": (rows(40, 3), rows(30, 4)),
    }

    together = ratings.run({carriers: ratings.refinement(carriers, *tables) for carriers, tables in asked.items()})

    assert ratings.asked == [("items", 1), ("users", 2), ("items", 2), ("users", 1)]
    for carriers, tables in asked.items():
        assert torch.equal(together[carriers], ratings.refine(carriers, *tables))
