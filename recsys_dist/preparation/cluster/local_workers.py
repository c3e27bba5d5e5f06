"""The fork server of local workers.

It imports the modules of the tasks once for all workers, while the main program is still importing. It runs until
that program ends, so only our own commands start it. Calls of `prepare` from other programs spawn their workers
and leave no process behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

FORKED, SPAWNED = "forkserver", "spawn"
LOADED = ["recsys_dist.preparation.tasks.preload"]
# Arrays of tens of MiB are freed and allocated often: pages returned to the system would be zeroed each time.
# Tasks run in a thread, whose own arena would return its pages despite the threshold: use only the main arena.
HEAP = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
# A worker has one core. Threads that a library starts on import would not survive a fork.
THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


def start_loading() -> None:
    """Use a fork server for this program's workers, where the system supports it, and start it."""
    if FORKED not in multiprocessing.get_all_start_methods():
        return
    multiprocessing.set_start_method(FORKED, force=True)
    multiprocessing.set_forkserver_preload(LOADED)
    # These variables are read at process start, not after a fork.
    with _environment({**HEAP, **THREADS}), ctrl_c_later():
        forkserver.ensure_running()


def start_method() -> str:
    """The start method of workers: forked if `start_loading` was called, else spawned."""
    return FORKED if multiprocessing.get_start_method(allow_none=True) == FORKED else SPAWNED


def dask_setup(_worker: object) -> None:
    """Ignore Ctrl-C in a local worker, as the main program ends its workers; called by Dask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Block SIGINT until the end of the block; processes started in it never receive it."""
    # Starting the resource tracker within the block would unblock SIGINT.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
