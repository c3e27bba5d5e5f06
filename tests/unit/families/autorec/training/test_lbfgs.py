"""L-BFGS one iteration at a time is L-BFGS, at fewer evaluations; and ends where it should."""

from __future__ import annotations

import torch
from torch import nn

from recsys_dist.families.autorec.training.lbfgs import HISTORY, Lbfgs


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
        [torchs.point], max_iter=1, max_eval=1000, history_size=HISTORY, line_search_fn="strong_wolfe"
    )
    (group,) = whole.param_groups
    # Along the gradient g a tenth of the value f is gone after 0.1 f / |g|^2; torch's own first step is 1 / |g|_1.
    value, gradient = torchs.evaluate(), torchs.point.grad
    assert gradient is not None
    group["lr"] = 0.1 * value / float(gradient @ gradient) * float(gradient.abs().sum())
    whole.step(torchs.evaluate)
    group.update(lr=1.0, max_iter=11)
    whole.step(torchs.evaluate)
    torch.testing.assert_close(ours.point, torchs.point)
    assert ours.evaluations <= torchs.evaluations + 12 // 4


class Slope:
    """Nearly a straight line in 1000 directions, as an AutoRec is at its start, each sum rounded a little."""

    def __init__(self, seed: int) -> None:
        self.point = nn.Parameter(torch.zeros(1000))
        self._generator = torch.Generator().manual_seed(seed)
        self._value = 0.0

    def evaluate(self) -> None:
        descent = torch.linspace(0.01, 0.05, 1000)
        rounding = 1e-7 * torch.randn(1001, generator=self._generator)
        point = self.point.detach()
        self._value = float(1 - descent @ point + 0.1 * point @ point + rounding[0])
        self.point.grad = (0.2 * point - descent) * (1 + rounding[1:])

    def value(self) -> float:
        return self._value


def test_rounding_does_not_decide_where_the_first_line_search_goes() -> None:
    slopes = [Slope(seed) for seed in range(8)]
    for slope in slopes:
        Lbfgs([slope.point], [0.0]).step(0.0, slope.evaluate, slope.value)
    assert slopes[0].point.norm() > 0.01
    for slope in slopes[1:]:
        torch.testing.assert_close(slope.point, slopes[0].point, rtol=1e-5, atol=1e-7)


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
