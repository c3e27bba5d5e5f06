"""What a family says of a training before it starts: memory, traffic, checkpoint and work of each rank.

Imports no torch. Everything follows from the manifest and the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import JsonValue

from recsys_dist.dataset.manifest import Side

if TYPE_CHECKING:
    import torch

    from recsys_dist.dataset.dataset import Dataset

SettingsT = TypeVar("SettingsT")

Saving = tuple[str, JsonValue]
"""A key of the configuration, and a value with which a rank needs less memory."""


@dataclass(frozen=True)
class PlanSetup(Generic[SettingsT]):
    """A training on so many ranks as there are numbers in `free`."""

    dataset: Dataset
    settings: SettingsT
    epochs: int
    memory_limit: int | None
    """See `training.memory_limit`."""
    free: tuple[int | None, ...]
    """Free bytes of each rank, at most `memory_limit`; None if unknown and unlimited."""
    device: torch.device
    num_threads: int
    """Threads of a rank."""

    @property
    def num_ranks(self) -> int:
        """Number of ranks."""
        return len(self.free)

    @property
    def tightest(self) -> int | None:
        """The rank with the least free memory, which decides for all; None if it is unknown of all."""
        known = [(room, rank) for rank, room in enumerate(self.free) if room is not None]
        return min(known)[1] if known else None

    def on(self, dataset: Dataset) -> PlanSetup[SettingsT]:
        """The same training on another dataset."""
        return replace(self, dataset=dataset)


@dataclass(frozen=True)
class RankPlan:
    """The part of one rank."""

    tables: Mapping[str, int]
    """Bytes of what a rank holds throughout an epoch, by name."""
    working_bytes: int
    """The most that it holds besides for a while, within an epoch."""
    received_bytes: int
    """Bytes of tables from other ranks in an epoch and its validation, as `Group.received_bytes` counts them."""
    work: float
    """Cost of an epoch, in nanoseconds of one thread of a machine of 2024; only ratios count."""
    copied_bytes: int = 0
    """Bytes that a rank holds besides the tables during a save, without the buffers of files."""
    freed_bytes: int = 0
    """Bytes of tables that are freed before a save."""


@dataclass(frozen=True)
class ModelPlan(Generic[SettingsT]):
    """The plan of a family."""

    ranks: Sequence[RankPlan]
    checkpoint: Mapping[str, int]
    """Bytes of each table of a checkpoint, of all ranks together."""
    settled: SettingsT
    """The settings without a search before the first epoch or between epochs."""
    thinned: Sequence[Side]
    """The sides of which a sample of the rows makes an epoch cheaper in proportion, or more."""
    savings: Sequence[Saving] = ()
    """What to change where a rank lacks memory, the least loss first."""
    refusal: str | None = None
    """The error with which training refuses to start; None if it starts."""
    is_whole: bool = False
    """Whether an epoch is the whole training, searches included."""
    note: str | None = None
    """What the settings leave to the data, and what it is here."""

    @property
    def most_work(self) -> float:
        """The work of the rank with the most."""
        return max(rank.work for rank in self.ranks)


AnyPlan = ModelPlan[Any]
