"""The GPUs that torch sees, and NCCL, by which ranks on them exchange."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Gpus:
    """What torch has of CUDA."""

    names: tuple[str, ...]
    cuda: str | None
    """The version of CUDA that torch was built for; None: a CPU build."""
    nccl: str | None
    """The version of NCCL; None if torch has none."""


def visible_gpus() -> Gpus:
    """The GPUs of this process."""
    names = tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
    has_nccl = dist.is_nccl_available()
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if has_nccl else None
    return Gpus(names, torch.version.cuda, nccl)
