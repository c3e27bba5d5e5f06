"""DistributedDataParallel for a replicated module; at world size 1 the module itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

# Public names that torch's annotations leave out.
from torch.distributed import DebugLevel, get_debug_level, set_debug_level  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.process_group import new_group
from recsys_dist.distributed.roll_call import explained


def replicate(module: nn.Module, collectives: Collectives) -> nn.Module:
    """Average the gradients of `module` over all ranks in each backward pass.

    Every rank must run forward and backward equally often and use every parameter each time. Since the backend
    averages, a rank's loss should be its part of the global loss times the world size.
    """
    world = collectives.world
    if world.size == 1:
        return module
    options: dict[str, Any] = {"device_ids": [world.device]} if world.device.type == "cuda" else {}
    with explained("comparing parameters", world):
        return DistributedDataParallel(
            module,
            process_group=_group_for_gradients(collectives),
            forward_sync_buffers=False,
            gradient_as_bucket_view=True,
            **options,
        )


def backward(loss: torch.Tensor, collectives: Collectives) -> None:
    """Backward pass of `loss`; gradients of a module from `replicate` are averaged over ranks."""
    with explained("averaging gradients", collectives.world):
        loss.backward()


def without_averaging(replica: nn.Module) -> AbstractContextManager[None]:
    """Accumulate gradients locally within the block; the next backward pass outside averages the sums.

    The forward pass must be within the block, too. `replica` is a module from `replicate`.
    """
    if isinstance(replica, DistributedDataParallel):
        context: AbstractContextManager[None] = replica.no_sync()
        return context
    return nullcontext()


def _group_for_gradients(collectives: Collectives) -> dist.ProcessGroup | None:
    """The group for averaging gradients; None is the default group.

    TORCH_DISTRIBUTED_DEBUG=DETAIL wraps each group to compare all collectives, and DistributedDataParallel of
    torch 2.13 crashes with a segmentation fault on such a group. It then gets a plain group of its own.
    """
    level = get_debug_level()
    if level != DebugLevel.DETAIL:
        return None
    set_debug_level(DebugLevel.OFF)
    try:
        return new_group(collectives.world, collectives.timeout_s)
    finally:
        set_debug_level(level)
