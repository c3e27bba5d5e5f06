"""Rank, world size and device of this process, read once from the environment that torchrun sets."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from recsys_dist.errors import ConfigError


@dataclass(frozen=True)
class World:
    """One process of a run. `size` 1 is a single-process run."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which shows progress and writes files that exist once per run."""
        return self.rank == 0

    @classmethod
    def single(cls, device: str = "cpu") -> World:
        """A world of one process, regardless of the environment."""
        return cls(rank=0, size=1, device=resolve_device(device, local_rank=0))

    @classmethod
    def from_environment(cls, device: str = "auto") -> World:
        """Read RANK, WORLD_SIZE and LOCAL_RANK; without them, a single process.

        `device` is `auto`, `cpu`, `cuda` or `cuda:N`.
        """
        rank = _environment_int("RANK", 0)
        size = _environment_int("WORLD_SIZE", 1)
        return cls(rank=rank, size=size, device=resolve_device(device, _environment_int("LOCAL_RANK", 0)))


def resolve_device(name: str, local_rank: int) -> torch.device:
    """The device `name` for process `local_rank` of this machine. Raises `ConfigError` if it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device: {name!r} is not a device; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise ConfigError(f"device: {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    ranks_here = _environment_int("LOCAL_WORLD_SIZE", 1)
    if device.index is not None and ranks_here > 1:
        raise ConfigError(
            f"device: {name!r} is one GPU for {ranks_here} processes; use cuda, so that each takes its own"
        )
    available = torch.cuda.device_count()
    index = local_rank if device.index is None else device.index
    if index >= available:
        raise ConfigError(
            f"device: {name!r} needs GPU number {index}, but this machine has {available} GPUs; "
            "start fewer processes per node, or use device=cpu"
        )
    return torch.device("cuda", index)


def _environment_int(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise ConfigError(f"environment variable {name}={text!r} is not a number")
    return int(text)
