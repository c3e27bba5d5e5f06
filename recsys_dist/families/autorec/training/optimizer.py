"""The optimizers of an AutoRec: penalties, clipping, and state by name.

Adam: Kingma & Ba 2015, with the penalty as part of the gradient. Rprop: Riedmiller & Braun 1993, as in the AutoRec
paper. L-BFGS: lbfgs.py. Row-wise RMSprop: rowwise_rmsprop.py for encoder and decoder, with Adam for the few other
parameters.

On the CPU, Adam and row-wise RMSprop compute the gradients of encoder and decoder a few columns at a time and
update these columns at once, unless the whole gradient is needed. The gradient of all columns then never exists in
memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from recsys_dist.families.autorec.network.network import Autorec
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.lbfgs import Lbfgs
from recsys_dist.families.autorec.training.rowwise_rmsprop import rowwise_rmsprop_
from recsys_dist.kernels.sampled import ColumnProduct

ADAM_MOMENTS = ("exp_avg", "exp_avg_sq")
BLOCK_FLOATS = 1 << 19
"""Gradient entries computed at a time: 8 MB with their parameters and moments, which fits a cache (measured from
2^15 to 2^22)."""
VECTOR_FLOATS = 16
"""Upper bound of the SIMD width. Blocks are multiples of it, so that their ends round like their middle."""


class AutorecOptimizer(Protocol):
    """Steps of all parameters from their gradients; the same on every rank."""

    @property
    def has_converged(self) -> bool:
        """Whether further steps would change almost nothing."""

    @property
    def steps_done(self) -> int:
        """Number of steps so far."""

    def step(self, learning_rate: float, evaluate: Callable[[], object], loss: Callable[[], float]) -> None:
        """Take one step. `evaluate` sets all gradients, averaged over ranks; `loss` returns its loss over all
        ranks. Every rank calls them equally often."""

    def moments_of(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """State tensors of each parameter, in its shape, named after it; writable views."""

    def values(self) -> dict[str, Any]:
        """The rest of the state."""

    def restore(self, values: Mapping[str, Any]) -> None:
        """Restore `values`. The caller then fills the tensors that `moments_of` returns."""


def steps_by_blocks(settings: AutorecSettings, is_summed: bool, device: torch.device) -> bool:
    """Whether gradients are computed a few columns at a time; `is_summed`: ranks all-reduce whole gradients.

    Clipping needs the norm of the whole gradient, and a GPU is faster with few large calls.
    """
    needs_whole = settings.is_full_batch or settings.gradient_clip is not None or is_summed
    return not needs_whole and device.type == "cpu"


def optimizer_of(
    model: Autorec,
    settings: AutorecSettings,
    regularization: float,
    num_ratings: int,
    column_shrinkage: float,
    sum_over_ranks: Callable[[torch.Tensor], torch.Tensor] | None = None,
    by_blocks: bool = False,
) -> AutorecOptimizer:
    """Make the optimizer of `settings`.

    `sum_over_ranks` sums in place over ranks with sharded columns; None: each rank has all columns. `by_blocks` is
    the result of `steps_by_blocks`; if True, backward passes of `model` defer the gradients of the tables.
    """
    tables = [model.encoder] if settings.tied else [model.encoder, model.decoder]
    groups: list[dict[str, Any]] = [
        # d/dV lambda/2 |V|^2 = lambda V, twice that if W is V; the loss of a step is divided by N/T
        {"params": tables, "weight_decay": regularization * (2 / len(tables)) / num_ratings},
        # the gradient of column_shrinkage |d|^2
        {"params": [model.output_bias], "weight_decay": 2 * column_shrinkage / num_ratings},
        {"params": [model.hidden_bias, *model.layer_weights, *model.layer_biases], "weight_decay": 0.0},
    ]
    model.later = None
    if by_blocks or settings.optimizer == "rowwise_rmsprop":
        later = model.leave_for_later() if by_blocks else None
        return ByColumns(groups, settings, sum_over_ranks, later)
    if settings.optimizer != "lbfgs":
        return Stepwise(groups, settings, sum_over_ranks)
    penalized = [(parameter, group["weight_decay"]) for group in groups for parameter in group["params"]]
    return Lbfgs([parameter for parameter, _ in penalized], [decay for _, decay in penalized])


class Stepwise:
    """Adam and Rprop: one step from one gradient."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        settings: AutorecSettings,
        sum_over_ranks: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> None:
        self._settings, self._sum_over_ranks = settings, sum_over_ranks
        if settings.optimizer == "rprop":
            self._inner: torch.optim.Optimizer = torch.optim.Rprop(groups, lr=settings.learning_rate)
        else:
            self._inner = torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)
        for parameter in [parameter for group in groups for parameter in group["params"]]:
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            self._inner.state[parameter] = {"step": step, **self._first_moments(parameter)}

    def _first_moments(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        """State of a parameter before the first step."""
        if self._settings.optimizer == "rprop":
            step_size = torch.full_like(parameter, self._settings.learning_rate, requires_grad=False)
            return {"prev": torch.zeros_like(parameter, requires_grad=False), "step_size": step_size}
        return {moment: torch.zeros_like(parameter, requires_grad=False) for moment in ADAM_MOMENTS}

    @property
    def has_converged(self) -> bool:
        """Never: the learning rate decays until the last epoch, and Rprop has no stopping rule."""
        return False

    @property
    def steps_done(self) -> int:
        """Number of steps so far."""
        return int(next(iter(self._inner.state.values()))["step"].item())

    def step(
        self,
        learning_rate: float,
        evaluate: Callable[[], object],
        loss: Callable[[], float],  # noqa: ARG002 - a step needs only the gradient
    ) -> None:
        """Take one step. Rprop ignores the learning rate and adapts its own step sizes."""
        evaluate()
        if self._settings.gradient_clip is not None:
            self._clip(self._settings.gradient_clip)
        self._move(learning_rate)

    def _move(self, learning_rate: float) -> None:
        """Move all parameters that have a gradient."""
        for group in self._inner.param_groups:
            if self._settings.optimizer != "rprop":
                group["lr"] = learning_rate
                continue
            for parameter in group["params"]:
                # torch's Rprop has no weight decay.
                parameter.grad.add_(parameter.detach(), alpha=group["weight_decay"])
        self._inner.step()

    def _clip(self, largest: float) -> None:
        *of_columns, of_hidden = ([p.grad for p in group["params"]] for group in self._inner.param_groups)
        squares = nn.utils.get_total_norm([gradient for group in of_columns for gradient in group]).square()
        if self._sum_over_ranks is not None:
            squares = self._sum_over_ranks(squares)
        # Hidden bias and layers are replicated on every rank, so they are not summed over ranks.
        norm = (squares + nn.utils.get_total_norm(of_hidden).square()).sqrt()
        parameters = [parameter for group in self._inner.param_groups for parameter in group["params"]]
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)

    def moments_of(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """State tensors of each parameter, named after it."""
        return {
            f"{name}_{moment}": kept
            for name, parameter in parameters.items()
            for moment, kept in self._inner.state[parameter].items()
            if moment != "step"
        }

    def values(self) -> dict[str, Any]:
        """The step count."""
        return {"steps": self.steps_done}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Restore the step count."""
        for state in self._inner.state.values():
            state["step"].fill_(values["steps"])


class ByColumns(Stepwise):
    """Adam or row-wise RMSprop on encoder and decoder, a few columns at a time; Adam on the rest."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        settings: AutorecSettings,
        sum_over_ranks: Callable[[torch.Tensor], torch.Tensor] | None,
        later: dict[nn.Parameter, list[ColumnProduct]] | None,
    ) -> None:
        """The tables are `groups[0]`. `later` holds their deferred gradients; None: gradients are in `.grad`."""
        self._tables, self._later = groups[0]["params"], later
        super().__init__(groups, settings, sum_over_ranks)

    def _first_moments(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        if self._is_rowwise and any(parameter is table for table in self._tables):
            return {"mean_square": torch.zeros(len(parameter), device=parameter.device)}
        return super()._first_moments(parameter)

    @property
    def _is_rowwise(self) -> bool:
        return self._settings.optimizer == "rowwise_rmsprop"

    def _move(self, learning_rate: float) -> None:
        """Step the other parameters with torch's Adam, then the tables."""
        gradients = [table.grad for table in self._tables]
        for table in self._tables:
            table.grad = None
        super()._move(learning_rate)
        for table, gradient in zip(self._tables, gradients, strict=True):
            self._move_table(table, gradient)

    @torch.no_grad()
    def _move_table(self, table_CH: nn.Parameter, gradient_CH: torch.Tensor | None) -> None:
        group, state = self._inner.param_groups[0], self._inner.state[table_CH]
        state["step"] += 1
        num_columns = columns_at_once(table_CH)
        moments = [kept for moment, kept in state.items() if moment != "step"]
        blocks = zip(*(tensor.split(num_columns) for tensor in (table_CH.detach(), *moments)), strict=True)
        gradients = self._gradients(table_CH, gradient_CH, num_columns)
        update = rowwise_rmsprop_ if self._is_rowwise else _adam_
        for (parameter, *kept), gradient in zip(blocks, gradients, strict=True):
            update(parameter, gradient, state["step"], group, *kept)

    def _gradients(
        self, table_CH: nn.Parameter, gradient_CH: torch.Tensor | None, num_columns: int
    ) -> Iterator[torch.Tensor]:
        """Gradients of `num_columns` columns at a time, from the whole gradient or from the deferred products."""
        if self._later is None:
            assert gradient_CH is not None, "a step follows a backward pass"
            yield from gradient_CH.split(num_columns)
            return
        products = self._later[table_CH]
        for parts in zip(*(product.blocks(num_columns) for product in products), strict=True):
            yield functools.reduce(torch.Tensor.add_, parts)
        products.clear()


def columns_at_once(table_CH: torch.Tensor) -> int:
    """Columns per update: as many as fit a cache, or all on a GPU, which is faster with one call."""
    if table_CH.device.type != "cpu":
        return max(1, len(table_CH))
    return max(1, BLOCK_FLOATS // table_CH.shape[1] // VECTOR_FLOATS) * VECTOR_FLOATS


def _adam_(
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    step: torch.Tensor,
    group: Mapping[str, Any],
    mean: torch.Tensor,
    mean_square: torch.Tensor,
) -> None:
    """The kernel of torch.optim.Adam(fused=True), here on a block of columns."""
    torch._fused_adam_(
        [parameter],
        [gradient],
        [mean],
        [mean_square],
        [],
        [step],
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def copied_parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters, by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@torch.no_grad()
def load_parameters(model: torch.nn.Module, copied: Mapping[str, torch.Tensor]) -> None:
    """Set all parameters from a copy."""
    for name, parameter in model.named_parameters():
        parameter.copy_(copied[name])
