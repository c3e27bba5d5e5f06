"""Every entry says how torch's threads wait, in time for OpenMP to read it; how busy the machine is decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_dist.process import threads

API = "import recsys_dist; recsys_dist.load_model"
COMMAND = "from recsys_dist.cli import main; main(['merge', 'no-such-run', '--output', 'MODEL'])"
LAUNCHER = """
import runpy, sys
sys.argv = ["evaluate.py", "no-such-model", "--dataset", "no-such-dataset"]
sys.path.insert(0, "launch")
runpy.run_path("launch/evaluate.py", run_name="__main__")
"""
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Lets the machine seem to have so many threads that run, this one included; None: it does not tell."""

    def set_running(number: int | None) -> None:
        monkeypatch.setattr(threads, "LOAD", tmp_path / "loadavg")
        if number is not None:
            Path(tmp_path / "loadavg").write_text(f"0.52 1.04 2.00 {number}/612 4711\n")

    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return set_running


@pytest.mark.parametrize("entry", [API, COMMAND, LAUNCHER], ids=["python", "command", "launcher"])
@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_openmp_is_told_before_torch_loads_it(entry, given):
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({"OMP_WAIT_POLICY": given} if given else {})

    ended = subprocess.run(
        [sys.executable, "-c", entry], env=environment, capture_output=True, text=True, check=False, timeout=120
    )

    # Whichever the machine's load asks for; libgomp shows what it has read.
    expected = (
        [f"OMP_WAIT_POLICY = '{given}'"] if given else ["OMP_WAIT_POLICY = 'PASSIVE'", "GOMP_SPINCOUNT = '1000'"]
    )
    assert any(line in ended.stderr for line in expected), ended.stderr


@pytest.mark.parametrize(
    ("running", "free", "waiting"),
    [
        (1, 4, {"GOMP_SPINCOUNT": "1000"}),
        (3, 2, {"GOMP_SPINCOUNT": "1000"}),
        (5, 1, {"OMP_WAIT_POLICY": "PASSIVE"}),
        (40, 1, {"OMP_WAIT_POLICY": "PASSIVE"}),
        (None, 4, {"GOMP_SPINCOUNT": "1000"}),
    ],
)
def test_threads_leave_the_cores_to_others_on_a_busy_machine(load, monkeypatch, running, free, waiting):
    load(running)
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    threads.settle_waiting()

    assert threads.free_cores() == free
    assert environment == waiting


def test_what_the_environment_says_stays(load, monkeypatch):
    load(40)
    environment = {"GOMP_SPINCOUNT": "7"}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    threads.settle_waiting()

    assert environment == {"GOMP_SPINCOUNT": "7"}
