"""Full-batch L-BFGS (Liu & Nocedal 1989), one of the optimizers in the AutoRec paper.

Runs torch's optimizer one iteration at a time, so that training can stop and resume between iterations. Usually
the line search ends at its last evaluation, where the next iteration begins. The result is reused there: an
iteration costs one pass over the ratings, and more only if the line search needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

HISTORY = 10
"""Past steps for the curvature estimate; each takes two vectors of all parameters."""
MOST_EVALUATIONS = 25
"""Most evaluations in one iteration."""
FIRST_GAIN = 0.1
"""Length of the first step: a linear objective would fall by this fraction. torch's own first step is so short
that rounding dominates its line search."""
STILL_GAIN = 1e-5
"""Training ends once an iteration lowers the objective by less than this fraction."""


class Lbfgs:
    """L-BFGS iterations on loss + sum of decay / 2 |p|^2, with one decay per parameter."""

    def __init__(self, parameters: Sequence[nn.Parameter], decays: Sequence[float]) -> None:
        self._parameters, self._decays = list(parameters), list(decays)
        self._inner = torch.optim.LBFGS(
            self._parameters,
            max_iter=1,
            max_eval=MOST_EVALUATIONS,
            # No stopping inside torch; `has_converged` decides instead.
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )
        self._point: list[torch.Tensor] | None = None
        """The point of the last evaluation of loss and gradients."""
        self._loss = 0.0
        self._gain = 1.0

    @property
    def has_converged(self) -> bool:
        """Whether an iteration gained almost nothing; known only after the following iteration."""
        return self._gain < STILL_GAIN

    @property
    def steps_done(self) -> int:
        """Iterations so far."""
        return int(self._state.get("n_iter", 0))

    @property
    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._inner.state[self._parameters[0]]
        return state

    def step(
        self,
        learning_rate: float,  # noqa: ARG002 - the line search finds the step length
        evaluate: Callable[[], object],
        loss: Callable[[], float],
    ) -> None:
        """Run one iteration."""
        if not self.steps_done:
            self._inner.param_groups[0]["lr"] = self._first_rate(self._objective(evaluate, loss))
        before, steps_done = self._state.get("prev_loss"), self.steps_done
        start = float(self._inner.step(lambda: self._objective(evaluate, loss)))
        self._inner.param_groups[0]["lr"] = 1.0
        if self.steps_done == steps_done:
            # torch takes no step if the gradient is 0.
            self._gain = 0.0
        elif before is not None:
            # The gain of the previous iteration: the line search may not have accepted the point of the last loss.
            self._gain = (before - start) / abs(before) if before else 0.0

    def _first_rate(self, objective: float) -> float:
        """Rate for which torch's first step t = rate x min(1, 1 / |g|_1) along -g is FIRST_GAIN f / |g|^2."""
        gradients = [_gradient(parameter) for parameter in self._parameters]
        square, absolute = (
            sum(float(gradient.pow(power).abs().sum(dtype=torch.float64)) for gradient in gradients)
            for power in (2, 1)
        )
        return FIRST_GAIN * objective / square * max(1.0, absolute) if square else 1.0

    def _objective(self, evaluate: Callable[[], object], loss: Callable[[], float]) -> float:
        if self._point is not None and all(map(torch.equal, self._parameters, self._point)):
            return self._loss
        evaluate()
        self._loss = loss()
        for parameter, decay in zip(self._parameters, self._decays, strict=True):
            values = parameter.detach()
            self._loss += 0.5 * decay * float(torch.sum(values * values, dtype=torch.float64))
            _gradient(parameter).add_(values, alpha=decay)
        self._point = [parameter.detach().clone() for parameter in self._parameters]
        return self._loss

    def values(self) -> dict[str, Any]:
        """The scalars of the optimizer's state."""
        state = self._state
        if not self.steps_done:
            return {"n_iter": 0}
        numbers = {name: float(state[name]) for name in ("t", "H_diag", "prev_loss")}
        counts = {name: int(state[name]) for name in ("n_iter", "func_evals")}
        return {**numbers, **counts, "ro": [float(value) for value in state["ro"]], "gain": self._gain}

    def moments_of(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Each parameter's part of each state vector, named after the parameter, in its shape; views."""
        parts = {}
        for name, vector in self._vectors().items():
            start = 0
            for own in self._parameters:
                part = vector[start : start + own.numel()].view_as(own)
                start += own.numel()
                parts.update({f"{key}_{name}": part for key, wanted in parameters.items() if wanted is own})
        return parts

    def _vectors(self) -> dict[str, torch.Tensor]:
        state = self._state
        if not self.steps_done:
            return {}
        steps = {f"step_{number}": vector for number, vector in enumerate(state["old_stps"])}
        changes = {f"change_{number}": vector for number, vector in enumerate(state["old_dirs"])}
        return {"direction": state["d"], "gradient": state["prev_flat_grad"], **steps, **changes}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Restore `values`; the state vectors are zeros for the caller to fill."""
        self._point = None
        if not values["n_iter"]:
            return
        past, length = len(values["ro"]), sum(parameter.numel() for parameter in self._parameters)

        def vector() -> torch.Tensor:
            return torch.zeros(length, dtype=torch.float32, device=self._parameters[0].device)

        self._gain = values["gain"]
        self._state.update(
            {name: values[name] for name in ("t", "H_diag", "prev_loss", "n_iter", "func_evals")},
            ro=list(values["ro"]),
            d=vector(),
            prev_flat_grad=vector(),
            old_stps=[vector() for _ in range(past)],
            old_dirs=[vector() for _ in range(past)],
        )


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None, "every parameter takes part in the loss"
    return parameter.grad
