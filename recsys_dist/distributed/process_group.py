"""The process group of a run: join, add a group, leave, each in bounded time.

torch's own timeouts do not suffice: see deadline.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist

from recsys_dist.distributed.deadline import within
from recsys_dist.distributed.roll_call import one_line
from recsys_dist.distributed.world import World
from recsys_dist.errors import PeerError

ResultT = TypeVar("ResultT")
SLACK_S = 5.0
"""Extra time, so that the backend's own timeout comes first: its message is more informative."""


def join(world: World, timeout_s: float, init_method: str | None) -> None:
    """Join the process group. Raises `PeerError` if other ranks are missing or the store does not answer.

    `init_method` is torch's rendezvous URL; None reads the variables that torchrun sets.
    """
    on_cuda = world.device.type == "cuda"
    meet = partial(
        dist.init_process_group,
        backend="nccl" if on_cuda else "gloo",
        init_method=init_method,
        rank=world.rank,
        world_size=world.size,
        timeout=datetime.timedelta(seconds=timeout_s),
        device_id=world.device if on_cuda else None,
    )
    try:
        _in_time(world, timeout_s, meet)
    except (RuntimeError, ValueError, TimeoutError) as error:
        who = f"rank {world.rank} of {world.size}"
        raise PeerError(f"{who} could not reach the others within {timeout_s:g} s: {one_line(error)}") from error


def new_group(world: World, timeout_s: float) -> dist.ProcessGroup:
    """Another group of all ranks, with the same timeout."""
    make = partial(dist.new_group, timeout=datetime.timedelta(seconds=timeout_s))
    group: dist.ProcessGroup = _in_time(world, timeout_s, make)
    return group


def leave(world: World, timeout_s: float) -> None:
    """Leave the group, and abandon pending collectives, which never end if peers are gone."""
    with suppress(TimeoutError):
        _in_time(world, timeout_s, dist.destroy_process_group)


def _in_time(world: World, timeout_s: float, call: Callable[[], ResultT]) -> ResultT:
    """Run `call` and return its result; raise `TimeoutError` shortly after its own timeout, which it may miss."""

    def on_device() -> ResultT:
        if world.device.type == "cuda":
            torch.cuda.set_device(world.device)  # a new thread starts on the first GPU
        return call()

    return within(timeout_s + SLACK_S, on_device)
