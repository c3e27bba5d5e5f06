"""L-BFGS one iteration at a time is L-BFGS, at fewer evaluations; and ends where it should."""

from __future__ import annotations

import torch
from torch import nn

from recsys_dist.training.lbfgs import HISTORY, Lbfgs


class Valley:
    """Rosenbrock's function of two numbers, whose least value 0 is at (1, 1); counts its evaluations."""

    def __init__(self) -> None:
        self.point = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
        self.evaluations = 0
        self._value = 0.0

    def evaluate(self) -> float:
        self.evaluations += 1
        self.point.grad = None
        x, y = self.point
        value = 100 * (y - x**2) ** 2 + (1 - x) ** 2
        value.backward()
        self._value = value.item()
        return self._value

    def value(self) -> float:
        return self._value


def test_iterations_apart_are_those_of_one_run() -> None:
    ours, torchs = Valley(), Valley()
    optimizer = Lbfgs([ours.point], [0.0])
    for _ in range(12):
        optimizer.step(0.0, ours.evaluate, ours.value)
    whole = torch.optim.LBFGS(
        [torchs.point], max_iter=12, max_eval=1000, history_size=HISTORY, line_search_fn="strong_wolfe"
    )
    whole.step(torchs.evaluate)
    torch.testing.assert_close(ours.point, torchs.point)
    assert ours.evaluations <= torchs.evaluations + 12 // 4


def test_it_ends_at_the_minimum_and_not_where_a_line_search_overshot() -> None:
    valley = Valley()
    optimizer = Lbfgs([valley.point], [0.0])
    while not optimizer.has_converged:
        optimizer.step(0.0, valley.evaluate, valley.value)
        assert optimizer.steps_done < 100
    torch.testing.assert_close(valley.point.detach(), torch.ones(2, dtype=torch.float64), rtol=1e-3, atol=1e-3)


def test_a_penalty_counts_in_the_objective_and_in_its_gradient() -> None:
    valley = Valley()
    optimizer = Lbfgs([valley.point], [50.0])
    for _ in range(60):
        optimizer.step(0.0, valley.evaluate, valley.value)
    valley.evaluate()
    assert valley.point.grad is not None
    torch.testing.assert_close(
        valley.point.grad + 50 * valley.point, torch.zeros(2, dtype=torch.float64), atol=1e-3, rtol=0
    )
