"""Errors for insufficient memory in training, with advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_dist.distributed.world import World
from recsys_dist.errors import TrainingError, lack_of_memory
from recsys_dist.protocols.registry import family_named
from recsys_dist.training.config import TrainConfig


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
