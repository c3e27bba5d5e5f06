"""A real Dask scheduler and worker processes on loopback, started and ended by the test that uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 90.0


@dataclass(frozen=True)
class DaskProcesses:
    address: str
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def dask_processes(
    folder: Path, num_workers: int, options: Sequence[str] = (), **environment: str
) -> Iterator[DaskProcesses]:
    """`folder` takes their logs and files; `options` go to all of them; `environment` adds to their variables."""
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / "scheduler.json"
    loopback = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(meeting), *options]
    with ExitStack() as stack:
        _start(stack, folder / "scheduler.log", "dask_scheduler", [*loopback, "--port", "0"], environment)
        address = _wait_for_address(meeting)
        single = [*loopback, "--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
        workers = [
            _start(stack, folder / f"worker-{number}.log", "dask_worker", single, environment)
            for number in range(num_workers)
        ]
        yield DaskProcesses(address, workers)


def _start(
    stack: ExitStack, log: Path, module: str, options: list[str], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    stream = stack.enter_context(log.open("wb"))
    command = [sys.executable, "-m", f"distributed.cli.{module}", *options]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    process = subprocess.Popen(command, stdout=stream, stderr=stream, env=variables)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _wait_for_address(meeting: Path) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if meeting.exists() and meeting.stat().st_size:
            return str(json.loads(meeting.read_text())["address"])
        time.sleep(0.05)
    raise AssertionError(f"no scheduler after {DEADLINE_S} s; see {meeting.parent}/scheduler.log")
