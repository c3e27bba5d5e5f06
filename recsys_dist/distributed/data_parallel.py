"""DistributedDataParallel for a replicated module; at world size 1 the module itself."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from recsys_dist.distributed.collectives import Collectives


def replicate(module: nn.Module, collectives: Collectives) -> nn.Module:
    """Average the gradients of `module` over all ranks in each backward pass.

    Every rank must run forward and backward the same number of times and use every parameter each time. A rank's
    loss should be its share of the whole times the world size, because the backend averages.
    """
    world = collectives.world
    if world.size == 1:
        return module
    options: dict[str, Any] = {"device_ids": [world.device]} if world.device.type == "cuda" else {}
    return DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True, **options)
