"""What every test must leave behind: the environment, the threads and the child processes as it found them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import slurm

REFERENCE_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE_S = 10.0


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The test processes share the cores; torch reads this when the first test module imports it.
        os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fails a test that leaks a rank's environment, a thread that keeps Python alive or a child process."""
    environment, threads, children = _rank_environment(), _lasting_threads(), _children()
    yield
    assert _rank_environment() == environment, "the test changed the environment of a rank"
    assert not _lingering(lambda: _lasting_threads() - threads), "the test left threads running"
    assert not _lingering(lambda: _children() - children), "the test left processes running"


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps files from behind URLs out of the person's own cache; ranks and commands inherit the place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DIST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[slurm.SlurmCluster]:
    """A running Slurm of two nodes; skips where there is none to start."""
    reason = slurm.why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    with slurm.running_cluster() as cluster:
        yield cluster


@pytest.fixture
def reference_data() -> Callable[[str], Path]:
    """Gives the path of a file among the reference data beside the checkout; skips where it is missing."""

    def find(name: str) -> Path:
        path = REFERENCE_DATA / name
        if not path.exists():
            pytest.skip(f"needs the reference data ../shared/data/{name}")
        return path

    return find


def _rank_environment() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in RANK_VARIABLES}


def _lasting_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


def _children() -> set[psutil.Process]:
    """Direct child processes at work; multiprocessing keeps a tracker, and a process to fork from, for good."""
    return {child for child in psutil.Process().children() if _is_at_work(child)}


def _is_at_work(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
        is_kept = "multiprocessing.resource_tracker" in command or "multiprocessing.forkserver" in command
        return not is_kept and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _lingering(left: Callable[[], set[Any]]) -> set[Any]:
    """What is still left when it has had time to end."""
    deadline = time.monotonic() + PATIENCE_S
    while (remaining := left()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return remaining
