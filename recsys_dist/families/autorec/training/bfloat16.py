"""Whether a processor has arithmetic in bfloat16: torch computes in it everywhere, slowly where there is none."""

from __future__ import annotations

import platform

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import ConfigError


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor of `device` multiplies in bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in {"x86_64", "AMD64"}:
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def require_bfloat16(collectives: Collectives) -> None:
    """Raise the same `ConfigError` on all ranks where the processor of one has none."""
    lacks = [not has for has in collectives.gather_json(has_bfloat16(collectives.world.device))]
    if any(lacks):
        raise ConfigError(
            f"model.compute: the {collectives.world.device.type} of rank {lacks.index(True)} has no arithmetic in "
            "bfloat16, which would be slower than float32; set float32"
        )
