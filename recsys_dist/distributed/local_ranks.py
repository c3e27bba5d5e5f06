"""Ranks on this machine without a launcher: spawned CPU processes with a file rendezvous, which end together.

In: a function of `Collectives`, and the number of ranks. Out: only its effects, or one error with the rank that
failed first and its reason. No rank outlives the call or this process, however it ends.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from recsys_dist.distributed.collectives import Collectives, open_collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import RecsysDistError, TrainingError

GRACE_S = 10.0
"""Time for the other ranks to end by themselves after one has failed."""
LOOPBACK = ("lo", "lo0")
LONGEST_REASON = 2000
RANK = "rank "
"""Prefix of the process names."""


@dataclass(frozen=True)
class _Plan:
    """The work of every rank, the number of ranks, their rendezvous, timeout and threads."""

    work: Callable[[Collectives], object]
    num_ranks: int
    meeting: str
    timeout_s: float
    num_threads: int | None


@dataclass(frozen=True)
class _Rank:
    """One spawned process, and the pipe for the reason of its failure."""

    number: int
    process: SpawnProcess
    told: Connection

    def failure(self) -> str:
        """The reason of its failure."""
        code = self.process.exitcode
        if self.told.poll():
            try:
                return f": {self.told.recv()}"
            except EOFError:  # it ended without a message
                pass
        if code is not None and code < 0:
            hint = ", perhaps because the machine ran out of memory" if -code == signal.SIGKILL else ""
            return f" was killed by {signal.Signals(-code).name}{hint}"
        return f" ended with exit code {code}"


def run_local_ranks(
    work: Callable[[Collectives], object], num_ranks: int, timeout_s: float, num_threads: int | None = None
) -> None:
    """Call `work(collectives)` on each of `num_ranks` CPU ranks of this machine and wait for all of them.

    `work` must be picklable: a function at the top level of a module, or a `partial` of one. Its standard output
    is discarded. Each rank computes with `num_threads` threads; None is torch's default. `timeout_s` is how long
    ranks wait for each other. Raises `TrainingError` with the rank that failed first, after ending the others.
    """
    with tempfile.TemporaryDirectory(prefix="recsys_dist-ranks-") as folder:
        plan = _Plan(work, num_ranks, (Path(folder) / "meeting").as_uri(), timeout_s, num_threads)
        ranks: list[_Rank] = []
        try:
            for number in range(num_ranks):
                ranks.append(_start(plan, number))
            failed = _first_failure(ranks, timeout_s)
            if failed is not None:
                raise TrainingError(_explain(failed, num_ranks))
        finally:
            for rank in ranks:
                rank.process.kill()
                rank.process.join()
                rank.told.close()


def _start(plan: _Plan, number: int) -> _Rank:
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_one_rank, args=(plan, number, tell), name=f"{RANK}{number}", daemon=True)
    process.start()
    tell.close()
    return _Rank(number, process, told)


def _first_failure(ranks: list[_Rank], timeout_s: float) -> _Rank | None:
    """Wait until all ranks have ended or the remaining ones are overdue; returns the first rank that failed."""
    running, first, deadline = list(ranks), None, math.inf
    while running:
        left_s = None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())
        ended = wait([rank.process.sentinel for rank in running], left_s)
        if not ended:
            return first or running[0]
        for rank in running:
            if rank.process.sentinel in ended:
                rank.process.join()
                if first is None and rank.process.exitcode != 0:
                    first = rank
        running = [rank for rank in running if rank.process.sentinel not in ended]
        limit_s = timeout_s if first is None else GRACE_S
        deadline = min(deadline, time.monotonic() + limit_s)
    return first


def _explain(failed: _Rank, num_ranks: int) -> str:
    who = f"rank {failed.number} of {num_ranks}"
    if failed.process.is_alive():
        return f"{who} did not end after the others had ended"
    reason = failed.failure()
    # Many errors of ranks already name the rank at fault, which may be another one.
    return reason.removeprefix(": ") if reason.startswith(": rank ") or num_ranks == 1 else who + reason


def _one_rank(plan: _Plan, number: int, tell: Connection) -> None:
    """Entry point of a spawned process. Exits without the interpreter's shutdown.

    The shutdown ends C++ threads while they release tensors, which may abort the process (a few times in a hundred
    trainings with torch 2.13). A rank that has done its work would then count as failed.
    """
    exit_code = _work(plan, number, tell)
    sys.stderr.flush()
    os._exit(exit_code)


def _work(plan: _Plan, number: int, tell: Connection) -> int:
    """Run the work; returns the exit code."""
    _prepare_process(plan.num_threads)
    world = World(rank=number, size=plan.num_ranks, device=torch.device("cpu"))
    try:
        with (
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
            open_collectives(world, plan.timeout_s, init_method=plan.meeting) as collectives,
        ):
            plan.work(collectives)
    except (RecsysDistError, OSError, MemoryError) as error:
        tell.send((str(error) or error.__class__.__name__)[:LONGEST_REASON])
        return 1
    except Exception as error:
        tell.send(f"{error.__class__.__name__}: {error}"[:LONGEST_REASON])
        raise
    return 0


def _prepare_process(num_threads: int | None) -> None:
    # Ctrl-C reaches the whole process group; the parent process ends the ranks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    loopback = [name for _, name in socket.if_nameindex() if name in LOOPBACK]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    if num_threads is not None:
        torch.set_num_threads(num_threads)


def _end_with_parent() -> None:
    """Exit when the parent process ends, since a killed parent cannot end its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
