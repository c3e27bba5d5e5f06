"""Errors for insufficient memory in training, with advice."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from recsys_dist.distributed.world import World
from recsys_dist.errors import TrainingError, lack_of_memory
from recsys_dist.protocols.registry import family_named
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.plan import PROCESS, Plan

logger = logging.getLogger(__name__)


def warn_of_lack(plan: Plan, free: Sequence[int | None]) -> None:
    """Log a warning that names the rank that lacks most, if a rank has less free memory than it will need.

    `free` are the bytes of each rank besides the process itself.
    """
    lacks = [
        (needed - room, number, needed, room)
        for number, (rank, room) in enumerate(zip(plan.ranks, free, strict=True))
        if room is not None and (needed := rank.total - rank.memory.get(PROCESS, 0)) > room
    ]
    if lacks:
        _, number, needed, room = max(lacks)
        logger.warning(
            "rank %d needs about %s GB, but %s GB are free; `recsys-dist plan` says what to change",
            number,
            f"{needed / 1e9:.3g}",
            f"{room / 1e9:.3g}",
        )


@contextmanager
def explained_lack_of_memory(world: World, config: TrainConfig) -> Iterator[None]:
    """If an allocation in the body fails, raise a `TrainingError` that names the rank and a remedy."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        lack = lack_of_memory(error)
        if lack is None:
            raise
        raise TrainingError(f"rank {world.rank} of {world.size}: {lack}; {_remedy(config)}") from error


def _remedy(config: TrainConfig) -> str:
    family = family_named(config.model.kind)
    return family.out_of_memory_advice(config.model, config.training.memory_limit)
