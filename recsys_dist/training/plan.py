"""The plan of a run: memory, traffic and checkpoint of each rank, kept as RUN_DIR/plan.json.

family: tables of a rank --+ working space, or buffers of a save --+ the process itself --> memory of a rank
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, ValidationError

from recsys_dist.checkpoint.snapshot import FILE_BYTES
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import DataError
from recsys_dist.protocols.plan import AnyPlan, PlanSetup, RankPlan
from recsys_dist.strict_model import StrictModel, first_problem
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.saving import MOST_COPY

SAVE_COPIES = 3
"""Copies of a file that a save holds at a time, see checkpoint/snapshot.py."""
PROCESS, WORKING, COPY = "process", "working space", "copy of a checkpoint"


class PlannedRank(StrictModel):
    """The part of one rank."""

    memory: dict[str, int]
    """Bytes at the peak, by what they are for."""
    received_bytes: int = Field(ge=0)
    """From other ranks, in an epoch and the validation after it; without collectives of small values."""

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(self.memory.values())


class Change(StrictModel):
    """A change of the configuration, such as model.factors=16, and the bytes of the largest rank with it."""

    change: str
    bytes: int
    fits: bool


class Plan(StrictModel):
    """The content of plan.json."""

    format: Literal["recsys_dist.plan"] = "recsys_dist.plan"
    format_version: Literal[1] = 1
    kind: str
    dataset_digest: str
    ranks: tuple[PlannedRank, ...]
    checkpoint_bytes: int = Field(ge=0)
    """Of one checkpoint, of all ranks together."""
    is_whole: bool = False
    """Whether an epoch is the whole training."""
    note: str | None = None
    epoch_seconds: float | None = Field(default=None, ge=0)
    """None: not measured."""
    room: int | None = None
    """Bytes that each rank may take; None if unknown."""
    refusal: str | None = None
    """The error with which training refuses to start."""
    changes: tuple[Change, ...] = ()
    """What was tried because the plan does not fit."""

    @property
    def largest(self) -> int:
        """Bytes of the rank with the most."""
        return max(rank.total for rank in self.ranks)

    @property
    def fits(self) -> bool:
        """Whether training starts, and every rank has the memory that it needs."""
        return self.refusal is None and (self.room is None or self.largest <= self.room)

    @classmethod
    def parse(cls, data: bytes, source: str) -> Self:
        """Read plan.json. Raises `DataError` that names `source` and the first wrong key."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise DataError(f"{source} is not a plan: {first_problem(error)}") from None

    def to_json(self) -> bytes:
        """The file."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def plan_setup(
    config: TrainConfig, dataset: Dataset, free: Sequence[int | None], device: torch.device, num_threads: int
) -> PlanSetup[object]:
    """The training of `config` on ranks with `free` bytes each, at most the memory limit."""
    limit = config.training.memory_limit
    bounded = [limit if room is None else room if limit is None else min(room, limit) for room in free]
    return PlanSetup(dataset, config.model, config.training.epochs, limit, tuple(bounded), device, num_threads)


def to_record(model_plan: AnyPlan, config: TrainConfig, dataset: Dataset, process_bytes: int) -> Plan:
    """The record of a family's plan, in processes that take `process_bytes` themselves."""
    return Plan(
        kind=config.model.kind,
        dataset_digest=dataset.digest,
        ranks=tuple(
            PlannedRank(
                memory={PROCESS: process_bytes, **memory_of(rank, model_plan)}, received_bytes=rank.received_bytes
            )
            for rank in model_plan.ranks
        ),
        checkpoint_bytes=sum(model_plan.checkpoint.values()),
        is_whole=model_plan.is_whole,
        note=model_plan.note,
        refusal=model_plan.refusal,
    )


def memory_of(rank: RankPlan, model_plan: AnyPlan) -> Mapping[str, int]:
    """Bytes of a rank at its peak, by what they are for, without the process itself."""
    largest_file = min(FILE_BYTES, max(model_plan.checkpoint.values(), default=0) // len(model_plan.ranks))
    saving = rank.copied_bytes + SAVE_COPIES * largest_file - rank.freed_bytes
    tables = {name: num_bytes for name, num_bytes in rank.tables.items() if num_bytes}
    share = sum(model_plan.checkpoint.values()) // len(model_plan.ranks)
    # The copy of a state from which a thread writes a checkpoint while training goes on, see training/saving.py.
    held = {COPY: share} if share <= MOST_COPY else {}
    return {**tables, **held, WORKING: max(rank.working_bytes, saving)}
