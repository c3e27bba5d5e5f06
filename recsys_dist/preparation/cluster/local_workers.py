"""The process that local workers are forked from.

It loads what their tasks need while the program that wants them is still importing, and once for all of them. It
stays until that program ends, so it is for programs of ours: who calls `prepare` from elsewhere gets workers that
start from nothing, and nothing that stays.
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
# Arrays of tens of MiB come and go: pages handed back to the system after each would have to be cleared anew.
# Tasks run in a thread, whose own heap would give its pages back whatever the threshold: all use the main one.
HEAP = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
# A worker has one core. Threads that a library starts on its import would be missing in who is forked afterwards.
THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


def start_loading() -> None:
    """Let this program's workers be forked, where its system can do that, and start the process to fork from."""
    if FORKED not in multiprocessing.get_all_start_methods():
        return
    multiprocessing.set_start_method(FORKED, force=True)
    multiprocessing.set_forkserver_preload(LOADED)
    # These are read when a process starts, not when it forks.
    with _environment({**HEAP, **THREADS}), ctrl_c_later():
        forkserver.ensure_running()


def start_method() -> str:
    """How workers start: as `start_loading` has said, else from nothing."""
    return FORKED if multiprocessing.get_start_method(allow_none=True) == FORKED else SPAWNED


def dask_setup(_worker: object) -> None:
    """Called by Dask in each local worker: Ctrl-C is for the program that started it, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Hold back SIGINT until the end of the block; a process that starts there never gets it."""
    # It would let SIGINT through again where it is started within the block.
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
