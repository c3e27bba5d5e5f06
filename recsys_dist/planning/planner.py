"""The plan of a training before it starts: from the manifest, the settings and a short rehearsal.

manifest, settings --family--> tables, traffic, checkpoint --rehearsal--> process, seconds --> Plan
a plan that does not fit --changes of settings, more ranks--> what each of them needs
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ByteSize

from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.world import resolve_device
from recsys_dist.errors import ConfigError
from recsys_dist.planning.rehearsal import Measured, rehearse
from recsys_dist.process.free_memory import free_bytes
from recsys_dist.process.peak_memory import resident_bytes
from recsys_dist.process.threads import NUM_THREADS
from recsys_dist.protocols.plan import AnyPlan
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.plan import Change, Plan, plan_setup, to_record
from recsys_dist.training.run import require_feedback

MOST_RANKS = 64
TIMES_AS_MANY_RANKS = (2, 4, 8, 16)


@dataclass(frozen=True)
class _Machine:
    """Where the ranks run."""

    num_ranks: int
    room: int | None
    """Bytes that each rank may take; None if unknown."""
    process_bytes: int
    device: torch.device

    @property
    def free(self) -> list[int | None]:
        """Bytes of each rank besides the process itself."""
        return [None if self.room is None else max(0, self.room - self.process_bytes)] * self.num_ranks

    @property
    def num_threads(self) -> int:
        """Threads of a rank, if the ranks share this machine."""
        given = os.environ.get(NUM_THREADS, "")
        return int(given) if given.isdigit() and int(given) else max(1, (os.cpu_count() or 1) // self.num_ranks)


def make_plan(config: TrainConfig, num_ranks: int = 1, memory: int | None = None, measures: bool = True) -> Plan:
    """Plan the training of `config` on `num_ranks` ranks with `memory` bytes each; None: this machine's, shared.

    `measures`: rehearse on this machine for a few seconds, for the time of an epoch and the memory of a process.
    Raises `ConfigError` if the family has no plan or `memory` is below that of an empty process, `DataError` if
    there is no dataset.
    """
    dataset = Dataset.open(config.dataset)
    require_feedback(config, dataset)
    device = resolve_device(config.device, local_rank=0)
    room = free_bytes(device, None, num_ranks) if memory is None else memory
    # On a GPU the memory of the process is another one.
    own_bytes = (resident_bytes() or 0) if device.type == "cpu" else 0
    machine = _Machine(num_ranks, room, own_bytes, device)
    _require_process(memory, machine.process_bytes)
    model_plan, measured = _of_family(config, dataset, machine), None
    if measures and model_plan.refusal is None and device.type == "cpu":
        setup = plan_setup(config, dataset, machine.free, device, machine.num_threads)
        measured = rehearse(config, setup, model_plan)
    if measured is not None:
        machine = _Machine(num_ranks, room, measured.process_bytes, device)
        model_plan = _of_family(config, dataset, machine)
    plan = _record(config, dataset, machine, measured)
    if plan.fits:
        return plan
    changes = list(_changes(config, dataset, machine, model_plan))
    return plan.model_copy(update={"changes": _told(changes)})


def _of_family(config: TrainConfig, dataset: Dataset, machine: _Machine) -> AnyPlan:
    plan = config.family.plan(plan_setup(config, dataset, machine.free, machine.device, machine.num_threads))
    if plan is None:
        raise ConfigError(
            f"model.kind: the family {config.model.kind} has no plan; `plan` is for families that have"
        )
    return plan


def _record(config: TrainConfig, dataset: Dataset, machine: _Machine, measured: Measured | None = None) -> Plan:
    plan = to_record(_of_family(config, dataset, machine), config, dataset, machine.process_bytes)
    seconds = None if measured is None else measured.epoch_seconds
    return plan.model_copy(update={"room": machine.room, "epoch_seconds": seconds})


def _require_process(memory: int | None, process_bytes: int) -> None:
    if memory is not None and memory <= process_bytes:
        size, least = (ByteSize(number).human_readable() for number in (memory, process_bytes))
        raise ConfigError(
            f"--memory {size} is less than Python and torch take by themselves, {least}; give all that a rank has"
        )


def _changes(config: TrainConfig, dataset: Dataset, machine: _Machine, model_plan: AnyPlan) -> Iterator[Change]:
    """What each change of the settings, and each larger number of ranks, would need."""
    for key, value in model_plan.savings:
        try:
            changed = _changed(config, key, value)
        except ConfigError:
            # The change does not go with the other settings.
            continue
        plan = _record(changed, dataset, machine)
        if plan.refusal is None:
            yield Change(change=f"{key}={value}", bytes=plan.largest, fits=plan.fits)
    for times in TIMES_AS_MANY_RANKS:
        if machine.num_ranks * times <= MOST_RANKS:
            more = _Machine(machine.num_ranks * times, machine.room, machine.process_bytes, machine.device)
            plan = _record(config, dataset, more)
            if plan.refusal is None:
                yield Change(change=f"--ranks {more.num_ranks}", bytes=plan.largest, fits=plan.fits)


def _told(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The first change of each key that fits; if none fits, the one that needs least."""
    first: dict[str, Change] = {}
    for change in changes:
        if change.fits:
            first.setdefault(change.change.partition("=")[0].partition(" ")[0], change)
    if first or not changes:
        return tuple(first.values())
    return (min(changes, key=lambda change: change.bytes),)


def _changed(config: TrainConfig, key: str, value: Any) -> TrainConfig:
    tree = config.model_dump(mode="json")
    *sections, last = key.split(".")
    section = tree
    for name in sections:
        section = section[name]
    section[last] = value
    return parse_settings(TrainConfig, tree, f"{key}={value}")
