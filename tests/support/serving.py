"""A running `recsys-dist serve` on a free port of loopback, and requests to it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.job_commands import REPOSITORY

START_S, END_S = 120.0, 60.0


@dataclass(frozen=True)
class RunningServer:
    """The process and its address."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def ask(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """The status code and the JSON of an answer; a body is sent as JSON, or as it is if it is bytes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def text(self, path: str) -> str:
        """The text of an answer."""
        with urlopen(self.url + path, timeout=60) as answer:
            return str(answer.read().decode())


@contextmanager
def running_server(model_dir: Path | str, log: Path, *options: str) -> Iterator[RunningServer]:
    """Start the service, and end it by SIGTERM after the block if it still runs."""
    command = [sys.executable, "-m", "recsys_dist", "serve", str(model_dir), "--port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START_S)
            line = process.stdout.readline() if ready else ""
            assert " answers on http://127.0.0.1:" in line, line + log.read_text()
            yield RunningServer(line.split()[-1], process, log)
        finally:
            process.terminate()
            process.wait(END_S)


def wait_until(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds; fails if it does not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it has not come about in time"
        time.sleep(0.05)
