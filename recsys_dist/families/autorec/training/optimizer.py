"""The optimizer of an AutoRec in training: penalties, clipping, and its state by name.

Adam: Kingma & Ba 2015, the penalty as part of the gradient. Rprop: Riedmiller & Braun 1993, which the paper of
AutoRec trains with. L-BFGS: lbfgs.py. Row-wise RMSprop: rowwise_rmsprop.py, for encoder and decoder, and Adam for
the rest, which is small.

On the CPU Adam and row-wise RMSprop make the gradients of encoder and decoder a few columns at a time, where no
one needs them whole, and take the step of these columns at once. A gradient of all columns is then never written,
kept nor read.
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
"""Of a gradient that is made at a time: with its parameters and moments 8 MB, which a cache keeps (measured from
2^15 to 2^22)."""
VECTOR_FLOATS = 16
"""That the processor handles at once, at most: whole ones in a block, so that its end rounds as its middle."""


class AutorecOptimizer(Protocol):
    """Steps of all parameters from their gradients; the same on every rank."""

    @property
    def has_converged(self) -> bool:
        """Whether further steps would change next to nothing."""

    @property
    def steps_done(self) -> int:
        """Steps so far."""

    def step(self, learning_rate: float, evaluate: Callable[[], object], loss: Callable[[], float]) -> None:
        """One step. `evaluate` sets all gradients, averaged over ranks; `loss` tells what it found, over all
        ranks, and is called as often on each."""

    def moments_of(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What is kept of each parameter, in its shape, named after it; views that may be written."""

    def values(self) -> dict[str, Any]:
        """The rest of what is kept."""

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from `values`, once what `moments_of` returns after this is filled."""


def steps_by_blocks(settings: AutorecSettings, is_summed: bool, device: torch.device) -> bool:
    """Whether gradients are made a few columns at a time; `is_summed`: ranks sum whole ones.

    A norm to clip by would need all of them first, and a GPU is faster with few large calls.
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
    """`sum_over_ranks` sums in place over ranks that each have some of the columns; None: each has all.

    `by_blocks`: as `steps_by_blocks` says; backward passes of `model` then leave these gradients for later.
    """
    tables = [model.encoder] if settings.tied else [model.encoder, model.decoder]
    groups: list[dict[str, Any]] = [
        # d/dV lambda/2 |V|^2 = lambda V, twice that where W is V, and the loss of a step is divided by N/T
        {"params": tables, "weight_decay": regularization * (2 / len(tables)) / num_ratings},
        # and of column_shrinkage |d|^2
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
        """What is kept of a parameter, before the first step."""
        if self._settings.optimizer == "rprop":
            step_size = torch.full_like(parameter, self._settings.learning_rate, requires_grad=False)
            return {"prev": torch.zeros_like(parameter, requires_grad=False), "step_size": step_size}
        return {moment: torch.zeros_like(parameter, requires_grad=False) for moment in ADAM_MOMENTS}

    @property
    def has_converged(self) -> bool:
        """Never: the learning rate falls until the last epoch, and the steps of Rprop know no end."""
        return False

    @property
    def steps_done(self) -> int:
        """Steps so far."""
        return int(next(iter(self._inner.state.values()))["step"].item())

    def step(
        self,
        learning_rate: float,
        evaluate: Callable[[], object],
        loss: Callable[[], float],  # noqa: ARG002 - one gradient is all it takes
    ) -> None:
        """One step. Rprop knows steps of its own."""
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
                # torch's Rprop leaves the penalty to its caller.
                parameter.grad.add_(parameter.detach(), alpha=group["weight_decay"])
        self._inner.step()

    def _clip(self, largest: float) -> None:
        *of_columns, of_hidden = ([p.grad for p in group["params"]] for group in self._inner.param_groups)
        squares = nn.utils.get_total_norm([gradient for group in of_columns for gradient in group]).square()
        if self._sum_over_ranks is not None:
            squares = self._sum_over_ranks(squares)
        # Each rank has the hidden bias and the layers, which count once.
        norm = (squares + nn.utils.get_total_norm(of_hidden).square()).sqrt()
        parameters = [parameter for group in self._inner.param_groups for parameter in group["params"]]
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)

    def moments_of(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What is kept of each parameter, named after it."""
        return {
            f"{name}_{moment}": kept
            for name, parameter in parameters.items()
            for moment, kept in self._inner.state[parameter].items()
            if moment != "step"
        }

    def values(self) -> dict[str, Any]:
        """The count of steps."""
        return {"steps": self.steps_done}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on counting."""
        for state in self._inner.state.values():
            state["step"].fill_(values["steps"])


class ByColumns(Stepwise):
    """Adam or row-wise RMSprop, which move encoder and decoder a few columns at a time; Adam moves the rest."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        settings: AutorecSettings,
        sum_over_ranks: Callable[[torch.Tensor], torch.Tensor] | None,
        later: dict[nn.Parameter, list[ColumnProduct]] | None,
    ) -> None:
        """The tables are those of `groups[0]`, whose gradients backward passes leave in `later`; None: in them."""
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
        """First all that Adam finds a gradient of, then the tables."""
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
        """So many columns at a time: of the whole gradient, or made from what the backward passes left."""
        if self._later is None:
            assert gradient_CH is not None, "a step comes after a backward pass"
            yield from gradient_CH.split(num_columns)
            return
        products = self._later[table_CH]
        for parts in zip(*(product.blocks(num_columns) for product in products), strict=True):
            yield functools.reduce(torch.Tensor.add_, parts)
        products.clear()


def columns_at_once(table_CH: torch.Tensor) -> int:
    """Whose parameters move together: what a cache keeps, or all on a GPU, which is faster with one call."""
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
    """What torch.optim.Adam(fused=True) calls with whole tensors."""
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
    """Set all parameters to those of a copy."""
    for name, parameter in model.named_parameters():
        parameter.copy_(copied[name])
