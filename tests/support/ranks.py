"""Run a function on several gloo ranks: processes of their own, a FileStore, a deadline that ends them all.

They are forked from a server that has imported torch and done nothing else, which saves each of them seconds. A
rank that must have the environment or the memory of a process of its own is spawned: `spawned=True`.
"""

from __future__ import annotations

import multiprocessing
import pickle
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from recsys_dist.distributed.collectives import open_collectives
from recsys_dist.distributed.world import World

DEADLINE_S = 120.0


def run_ranks(
    work: Callable[..., Any],
    world_size: int,
    folder: Path,
    *args: Any,
    deadline_s: float = DEADLINE_S,
    spawned: bool = False,
) -> list[Any]:
    """Call `work(collectives, *args)` on every rank and return what each returned, in rank order.

    `work` must be a function at the top level of a module. Fails with each rank's traceback, or where
    the deadline passes with the ranks that had not ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context: Any = multiprocessing.get_context("spawn" if spawned else "forkserver")
    if not spawned:
        context.set_forkserver_preload([__name__])
    meeting = folder / f"filestore-{time.monotonic_ns()}"
    results = [folder / f"{meeting.name}-rank-{rank}.pickle" for rank in range(world_size)]
    ranks = [
        context.Process(target=_one_rank, args=(work, rank, world_size, meeting, results[rank], args), daemon=True)
        for rank in range(world_size)
    ]
    for process in ranks:
        process.start()
    _wait(ranks, time.monotonic() + deadline_s)
    return _collect(ranks, results)


def _one_rank(
    work: Callable[..., Any], rank: int, world_size: int, meeting: Path, result: Path, args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    world = World(rank=rank, size=world_size, device=torch.device("cpu"))
    try:
        with open_collectives(world, timeout_s=60, init_method=meeting.as_uri()) as collectives:
            outcome = ("returned", work(collectives, *args))
    except BaseException:
        outcome = ("raised", traceback.format_exc())
    result.write_bytes(pickle.dumps(outcome))


def _wait(ranks: list[Any], deadline: float) -> None:
    for process in ranks:
        process.join(max(0.0, deadline - time.monotonic()))
    late = [rank for rank, process in enumerate(ranks) if process.is_alive()]
    for process in ranks:
        if process.is_alive():
            process.kill()
            process.join()
    assert not late, f"ranks {late} had not ended at the deadline"


def _collect(ranks: list[Any], results: list[Path]) -> list[Any]:
    values, failures = [], []
    for rank, (process, result) in enumerate(zip(ranks, results, strict=True)):
        if not result.exists():
            failures.append(f"rank {rank} died with exit code {process.exitcode}")
            continue
        kind, value = pickle.loads(result.read_bytes())
        if kind == "raised":
            failures.append(f"rank {rank}:\n{value}")
        values.append(value)
    assert not failures, "\n".join(failures)
    return values
