"""A real MLflow server on loopback, of the packages that tests/run.sh installs into a folder of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.job_commands import REPOSITORY

PACKAGES = REPOSITORY / ".venv" / "mlflow"
START_S, END_S = 120.0, 20.0


@dataclass(frozen=True)
class MlflowServer:
    """The processes of the server, and its address."""

    url: str
    process: subprocess.Popen[bytes]

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """In the block it accepts connections and does not answer."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)


def why_unavailable() -> str | None:
    """Why no server can be started; None if one can."""
    return None if PACKAGES.is_dir() else "needs the MLflow server that tests/run.sh installs into .venv/mlflow"


@contextmanager
def running_mlflow(folder: Path) -> Iterator[MlflowServer]:
    """Start the server with its files in `folder`, and end it after the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    places = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "art"),
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "PYTHONPATH": str(PACKAGES),
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(
            [*command, *places], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        server = MlflowServer(f"http://127.0.0.1:{port}", process)
        try:
            _wait_for(server, folder / "server.log")
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(END_S)
            finally:
                _kill_group(process.pid)


def _wait_for(server: MlflowServer, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urlopen(f"{server.url}/health", timeout=5):
                return
        except (URLError, OSError):
            in_time = time.monotonic() < deadline and server.process.poll() is None
            assert in_time, f"MLflow does not answer: {log.read_text()}"
            time.sleep(0.1)


def _kill_group(number: int) -> None:
    """What is left of it, such as a worker."""
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:
        return
