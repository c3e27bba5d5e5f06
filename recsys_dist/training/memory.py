"""Memory during training: how the C library's heap keeps it, and what is said where it does not suffice."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ByteSize

from recsys_dist.distributed.world import World
from recsys_dist.errors import TrainingError, lack_of_memory
from recsys_dist.training.config import TrainConfig

# From malloc.h of glibc; see mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Have glibc keep large freed buffers for the next step, which asks for them again; elsewhere nothing changes.

    By default it returns them to the kernel, which hands out zeroed pages for the next step one fault at a time:
    most of a step's time where gradients are hundreds of megabytes. Call it before anything large is allocated.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, LARGEST)


@contextmanager
def explained_lack_of_memory(world: World, config: TrainConfig) -> Iterator[None]:
    """Where an allocation of the body fails, raise a `TrainingError` that names the rank and what would help."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        lack = lack_of_memory(error)
        if lack is None:
            raise
        raise TrainingError(f"rank {world.rank} of {world.size}: {lack}; {_remedy(config)}") from error


def _remedy(config: TrainConfig) -> str:
    if config.model.kind == "autorec":
        return "a smaller model.hidden or model.batch_size needs less"
    limit = config.training.memory_limit
    first = (
        "set training.memory_limit"
        if limit is None
        else f"lower training.memory_limit (now {ByteSize(limit).human_readable()})"
    )
    return f"{first}, use more ranks on more machines, or a smaller model.factors"
