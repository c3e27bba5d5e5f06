"""The network interfaces of this host, and whether ranks reach each other over them by gloo."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.local_ranks import run_local_ranks
from recsys_dist.distributed.process_group import new_group
from recsys_dist.distributed.roll_call import one_line
from recsys_dist.errors import PeerError

CHOICE = "GLOO_SOCKET_IFNAME"
"""The environment variable that names gloo's interface."""
GET_FLAGS, GET_ADDRESS = 0x8913, 0x8915
"""Requests of Linux: SIOCGIFFLAGS and SIOCGIFADDR."""
IS_UP, IS_LOOPBACK = 0x1, 0x8
NUM_SUMMED = 1 << 16


@dataclass(frozen=True)
class Interface:
    """A network interface with an IPv4 address."""

    name: str
    address: str
    is_loopback: bool


def interfaces() -> list[Interface]:
    """The interfaces of this host that are up and have an IPv4 address."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # no IPv4 address
                flags = struct.unpack("H", _ask(asking, GET_FLAGS, name)[16:18])[0]
                address = socket.inet_ntoa(_ask(asking, GET_ADDRESS, name)[20:24])
                if flags & IS_UP:
                    found.append(Interface(name, address, bool(flags & IS_LOOPBACK)))
    return found


def _ask(asking: socket.socket, request: int, name: str) -> bytes:
    return fcntl.ioctl(asking.fileno(), request, struct.pack("256s", name.encode()[:15]))


def address_of_host() -> str | None:
    """The IPv4 address that the name of this host stands for; gloo takes its interface. None if there is none."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return None


def try_interfaces(names: Sequence[str], timeout_s: float) -> dict[str, str | None]:
    """Let two processes of this host all-reduce over each interface; the reason of each failure, None for success.

    Raises `TrainingError` if the processes cannot meet at all. `timeout_s` limits each interface.
    """
    with tempfile.TemporaryDirectory(prefix="recsys_dist-gloo-") as folder:
        result = Path(folder) / "failures.json"
        with _without_choice():
            run_local_ranks(partial(_try_each, list(names), timeout_s, str(result)), 2, timeout_s, num_threads=1)
        failures: dict[str, str | None] = json.loads(result.read_text())
    return failures


@contextmanager
def _without_choice() -> Iterator[None]:
    """Processes that are started in the block meet over loopback."""
    given = os.environ.pop(CHOICE, None)
    try:
        yield
    finally:
        if given is not None:
            os.environ[CHOICE] = given


def _try_each(names: list[str], timeout_s: float, result: str, collectives: Collectives) -> None:
    failures = [_failure(name, timeout_s, collectives) for name in names]
    of_ranks = collectives.gather_json(failures)
    if collectives.world.is_first:
        reasons = (next(filter(None, reasons), None) for reasons in zip(*of_ranks, strict=True))
        Path(result).write_text(json.dumps(dict(zip(names, reasons, strict=True))))


def _failure(name: str, timeout_s: float, collectives: Collectives) -> str | None:
    """Why a sum over a new group on this interface fails; None if it is right."""
    # gloo reads the variable whenever a group is made.
    os.environ[CHOICE] = name
    try:
        group = new_group(collectives.world, timeout_s)
        summed = torch.ones(NUM_SUMMED)
        dist.all_reduce(summed, group=group)
    except (RuntimeError, ValueError, TimeoutError, PeerError) as error:
        return one_line(error)
    return None if bool((summed == collectives.world.size).all()) else "the sum is wrong"
