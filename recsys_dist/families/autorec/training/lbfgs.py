"""L-BFGS on the gradient of all ratings (Liu & Nocedal 1989), as the paper of AutoRec trains with.

torch's optimizer does the work, one iteration at a time, so that training can stop and go on between any two. Its
line search ends where it evaluated last, as a rule, and the next iteration begins there. That evaluation serves
both, so that an iteration costs one pass over the ratings, and more only where the line search needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

HISTORY = 10
"""Past steps that stand for the curvature; each takes two vectors of all parameters."""
MOST_EVALUATIONS = 25
"""Of one iteration."""
FIRST_GAIN = 0.1
"""The share of the objective by which the first step would lower it, were it a straight line. From the shortest
step, which is torch's choice, a line search on what is nearly one goes where rounding sends it."""
STILL_GAIN = 1e-5
"""A relative fall of the objective by an iteration below which training is over."""


class Lbfgs:
    """Iterations over some parameters, each with a penalty of its own: decay / 2 |p|^2 beside the loss."""

    def __init__(self, parameters: Sequence[nn.Parameter], decays: Sequence[float]) -> None:
        self._parameters, self._decays = list(parameters), list(decays)
        self._inner = torch.optim.LBFGS(
            self._parameters,
            max_iter=1,
            max_eval=MOST_EVALUATIONS,
            # torch would stop within an iteration and stay there; `has_converged` tells instead.
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )
        self._point: list[torch.Tensor] | None = None
        """Where the loss and the gradients were evaluated last."""
        self._loss = 0.0
        self._gain = 1.0

    @property
    def has_converged(self) -> bool:
        """Whether an iteration has changed next to nothing, which the one after it finds out."""
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
        learning_rate: float,  # noqa: ARG002 - the line search finds its own
        evaluate: Callable[[], object],
        loss: Callable[[], float],
    ) -> None:
        """One iteration."""
        if not self.steps_done:
            self._inner.param_groups[0]["lr"] = self._first_rate(self._objective(evaluate, loss))
        before, steps_done = self._state.get("prev_loss"), self.steps_done
        start = float(self._inner.step(lambda: self._objective(evaluate, loss)))
        self._inner.param_groups[0]["lr"] = 1.0
        if self.steps_done == steps_done:
            # The gradient is 0, so that torch takes no step.
            self._gain = 0.0
        elif before is not None:
            # What the iteration before gained. The last loss may be of a point that the line search did not take.
            self._gain = (before - start) / abs(before) if before else 0.0

    def _first_rate(self, objective: float) -> float:
        """What makes t = FIRST_GAIN f / |g|^2 of torch's first step, rate x min(1, 1 / |g|_1) along -g."""
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
        """The numbers that an iteration hands to the next."""
        state = self._state
        if not self.steps_done:
            return {"n_iter": 0}
        numbers = {name: float(state[name]) for name in ("t", "H_diag", "prev_loss")}
        counts = {name: int(state[name]) for name in ("n_iter", "func_evals")}
        return {**numbers, **counts, "ro": [float(value) for value in state["ro"]], "gain": self._gain}

    def moments_of(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The part of each vector that belongs to each parameter, named after it, in its shape; views."""
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
        """Take over `values`; the vectors, still of zeros, are the caller's to fill."""
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
