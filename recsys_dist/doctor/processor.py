"""Cores, load, and the threads that a run would compute with."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import torch

from recsys_dist.doctor.finding import Finding
from recsys_dist.process.cgroups import own_cgroups
from recsys_dist.process.threads import NUM_THREADS, SPIN_COUNT, WAIT_POLICY, free_cores


def check_cores() -> Iterator[Finding]:
    """The number of cores, those that this process may use, and the load."""
    num_cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    allowed = min(len(os.sched_getaffinity(0)), quota_of_cores() or math.inf)
    told = f"{num_cores}, load {load:.1f}"
    if allowed < num_cores:
        least = max(1, math.floor(allowed))
        advice = "" if NUM_THREADS in os.environ else f"set {NUM_THREADS}={least}"
        yield Finding("note", "cores", f"{told}; this process may use {allowed:g} of them", advice)
    elif load > num_cores:
        yield Finding("note", "cores", f"{told}: other programs use them", "runs take longer, and timings vary")
    else:
        yield Finding("ok", "cores", told)


def quota_of_cores() -> float | None:
    """The number of cores that the container grants to this process; None without a quota."""
    quotas = []
    for folder in own_cgroups():
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))
        except (OSError, ValueError):
            continue  # "max" means no quota; the outermost group has no file
    return min(quotas, default=None)


def check_threads() -> Iterator[Finding]:
    """The threads of a run of one process, and what its threads do while they wait."""
    num_threads, given = torch.get_num_threads(), os.environ.get(NUM_THREADS)
    if given is not None and not given.isdigit():
        yield Finding("problem", "threads", f"{NUM_THREADS}={given} is not a number", "give a number, or unset it")
    elif given is not None:
        yield Finding("ok", "threads", f"one process computes with {num_threads}, by {NUM_THREADS}={given}")
    else:
        free = min(free_cores(), num_threads)
        told = f"one process computes with {num_threads}; mf with {free}, the cores that are free now"
        yield Finding("ok", "threads", told, f"{NUM_THREADS} sets another number")
    yield _waiting()


def _waiting() -> Finding:
    policy, spins = os.environ.get(WAIT_POLICY), os.environ.get(SPIN_COUNT)
    if (policy or "").upper() == "ACTIVE":
        told = f"{WAIT_POLICY}={policy}: waiting threads take cores from working ones"
        return Finding("note", "wait policy", told, "unset it, unless the machine is yours alone")
    told = f"{SPIN_COUNT}={spins}" if policy is None else f"{WAIT_POLICY}={policy}"
    how = "sleep at once" if policy is not None else "spin shortly, then sleep"
    return Finding("ok", "wait policy", f"waiting threads {how} ({told})")
