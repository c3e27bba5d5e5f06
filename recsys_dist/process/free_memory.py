"""Free memory of a rank: on its GPU, or its share of the machine's memory within the limits. Linux only."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import torch

from recsys_dist.process.cgroups import own_cgroups


def free_bytes(device: torch.device, memory_limit: int | None, ranks_here: int | None = None) -> int | None:
    """Free bytes of this rank on `device`, at most `memory_limit`; None if unknown and unlimited.

    `ranks_here` ranks share the machine; None: as many as the launcher says.
    """
    if device.type == "cuda":
        bounds = [torch.cuda.mem_get_info(device)[0]]
    else:
        ranks_here = ranks_here or int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        bounds = [shared // ranks_here for shared in (*_free_of_machine(), *_free_of_cgroups())]
        bounds += _free_addresses()
    return min([*bounds, *([] if memory_limit is None else [memory_limit])], default=None)


def _free_of_machine() -> list[int]:
    try:
        facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return [int(facts["MemAvailable"].split()[0]) * 1024]
    except (OSError, KeyError, ValueError):
        return []


def _free_of_cgroups() -> list[int]:
    """Free bytes of each cgroup (version 2) of this process that has a limit, as in a container."""
    return [free for folder in own_cgroups() for free in _free_of_cgroup(folder)]


def _free_of_cgroup(folder: Path) -> list[int]:
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        # "max" means no limit; the outermost group has none.
        return []
    # Cached files count as free, since the kernel drops them when memory is needed.
    return [max(0, limit - used + int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0)))]


def _free_addresses() -> list[int]:
    """Free address space within `ulimit -v`, which some schedulers set."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return []
    return [max(0, limit - pages * resource.getpagesize())]
