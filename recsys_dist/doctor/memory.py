"""Memory of the machine and of the container, and shared memory, through which ranks exchange tables."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from recsys_dist.distributed.shared_memory import FOLDER, SLOT_BYTES
from recsys_dist.doctor.finding import GIB, Finding, shown_size
from recsys_dist.process.cgroups import own_cgroups
from recsys_dist.process.free_memory import free_bytes

LEAST_BYTES = GIB // 4
"""With less free memory not even the program itself starts reliably."""
GOOD_BYTES = 2 * GIB


def check_memory() -> Iterator[Finding]:
    """Free memory of a process within all limits, the memory of the machine and the container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free, limit = free_bytes(torch.device("cpu"), None), memory_limit()
    told = shown_size(total) + (f", the container's limit {shown_size(limit)}" if limit is not None else "")
    if free is None:
        yield Finding("note", "memory", f"{told}; how much is free is unknown")
        return
    told += f", free {shown_size(free)}"
    advice = "end other programs, or raise the limit of the container; training.memory_limit bounds a rank"
    if free < GOOD_BYTES:
        yield Finding("problem" if free < LEAST_BYTES else "note", "memory", told, advice)
    else:
        yield Finding("ok", "memory", told)


def memory_limit() -> int | None:
    """The memory in bytes that the container grants; None without a limit."""
    limits = []
    for folder in own_cgroups():
        try:
            limits.append(int((folder / "memory.max").read_text()))
        except (OSError, ValueError):
            continue  # "max" means no limit; the outermost group has no file
    return min(limits, default=None)


def check_shared_memory() -> Iterator[Finding]:
    """Size and free part of /dev/shm; without enough, ranks exchange through sockets."""
    try:
        status = os.statvfs(FOLDER)
    except OSError as error:
        yield Finding("note", str(FOLDER), f"{error.strerror}", "ranks use sockets, which are slower")
        return
    size, free = status.f_frsize * status.f_blocks, status.f_frsize * status.f_bavail
    told = f"{shown_size(size)}, free {shown_size(free)}"
    if free < 2 * SLOT_BYTES:
        advice = "ranks may use sockets, which are slower: remove old files, or docker run --shm-size=2g"
        yield Finding("note", str(FOLDER), told, advice)
    else:
        yield Finding("ok", str(FOLDER), told)
