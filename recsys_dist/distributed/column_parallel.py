"""Differentiable all-reduces for parameters sharded by columns.

A product over sharded columns is all-reduced in the forward pass; its gradient is the same on every rank. For a
replicated tensor that each rank multiplies by its own columns, gradients are all-reduced in the backward pass.
Source: Shoeybi et al. 2019, Megatron-LM, section 3, where the two are called g and f.
"""

from __future__ import annotations

from typing import Any

import torch

from recsys_dist.distributed.collectives import Collectives


def sum_forward(partial: torch.Tensor, collectives: Collectives) -> torch.Tensor:
    """The sum of `partial` over ranks, of any shape. Collective in the forward pass."""
    total: torch.Tensor = _SumForward.apply(partial, collectives)
    return total


def sum_backward(same: torch.Tensor, collectives: Collectives) -> torch.Tensor:
    """`same` unchanged; it must be equal on every rank. Sums its gradients: collective in the backward pass."""
    unchanged: torch.Tensor = _SumBackward.apply(same, collectives)
    return unchanged


class _SumForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, partial: torch.Tensor, collectives: Collectives) -> torch.Tensor:  # noqa: ARG004
        return collectives.sum_table(partial.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ARG004
        return gradients[0], None


class _SumBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, same: torch.Tensor, collectives: Collectives) -> torch.Tensor:
        ctx.collectives = collectives
        return same.view_as(same)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.collectives.sum_table(gradients[0].contiguous().clone()), None
