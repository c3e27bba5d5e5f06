"""A sweep that is stopped by Ctrl-C, then killed with its trials, and started again each time."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.job_commands import REPOSITORY
from tests.support.prepared import small_dataset

pytest.importorskip("optuna", reason="needs the extra sweep")
pytestmark = pytest.mark.slow

DEADLINE_S = 120.0
EPOCHS = 200
"""Some seconds of a trial."""


class Sweep:
    """Two trials at a time."""

    def __init__(self, folder: Path) -> None:
        small_dataset(folder / "data")
        self.study, self._output = folder / "study", folder / "output"
        (folder / "space.yaml").write_text("model.regularization: {float: [1, 10]}\n")
        self._command = [
            *(sys.executable, "-m", "recsys_dist", "sweep", "--config", "mf", f"dataset={folder / 'data'}"),
            *("--space", str(folder / "space.yaml"), "--study", str(self.study), "--trials", "2", "--jobs", "2"),
            *("model.prior=fixed", "model.posterior=point", "model.factors=2", "model.tolerance=0"),
            *(f"training.epochs={EPOCHS}", "training.patience=null", "checkpoint.every=5", "device=cpu"),
        ]

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        with (
            self._output.open("wb") as output,
            subprocess.Popen(
                self._command, stdout=output, stderr=output, env=environment, start_new_session=True
            ) as process,
        ):
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def lines(self, trial: int) -> list[str]:
        path = self.study / f"trial-{trial:03d}" / "metrics.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def told(self) -> str:
        return self._output.read_text()

    def states(self) -> list[str]:
        with closing(sqlite3.connect(self.study / "study.db")) as file:
            return [state for (state,) in file.execute("select state from trials order by number")]


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes], sweep: Sweep) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert process.poll() is None, sweep.told()
        assert time.monotonic() < deadline, sweep.told()
        time.sleep(0.02)


def test_a_stopped_and_a_killed_sweep_go_on_where_they_were(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    with sweep.started() as process:
        wait_for(lambda: all(len(sweep.lines(trial)) > 10 for trial in (0, 1)), process, sweep)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(DEADLINE_S) == 75, sweep.told()
    assert "Stopped: the state is saved. The same command continues." in sweep.told()
    assert "Traceback" not in sweep.told()
    assert sweep.states() == ["RUNNING", "RUNNING"]
    before = {trial: sweep.lines(trial) for trial in (0, 1)}

    with sweep.started() as process:
        wait_for(
            lambda: all(len(sweep.lines(trial)) > len(before[trial]) + 10 for trial in (0, 1)), process, sweep
        )
        trials = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        psutil.wait_procs(trials, timeout=DEADLINE_S)
    assert not any(trial.is_running() for trial in trials), "a trial outlives its sweep"

    with sweep.started() as process:
        assert process.wait(DEADLINE_S) == 0, sweep.told()
    assert sweep.states() == ["COMPLETE", "COMPLETE"]
    for trial, lines in before.items():
        after = sweep.lines(trial)
        assert [json.loads(line)["epoch"] for line in after] == list(range(1, EPOCHS + 1))
        assert after[: len(lines)] == lines, "epochs were trained again"
    assert (sweep.study / "best.yaml").exists()
