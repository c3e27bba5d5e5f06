"""Ctrl-C on the commands, as a terminal sends it: to the whole process group."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recsys_dist.process.preemption import SAME_PRESS_S
from tests.support.job_commands import REPOSITORY
from tests.support.prepared import low_rank_ratings, small_dataset

pytestmark = pytest.mark.slow

DEADLINE_S = 120.0
EPOCHS = 100_000
BIN = Path(sys.executable).parent


@contextmanager
def started(command: list[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own; all that it printed goes to one file."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    environment["OMP_NUM_THREADS"] = "1"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=REPOSITORY, env=environment, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def press(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.02)


class Training:
    """One run, whose epochs take moments."""

    def __init__(self, folder: Path, launcher: list[str]) -> None:
        small_dataset(folder / "dataset")
        self.run, self.output = folder / "run", folder / "output"
        self.command = [
            *launcher,
            "--config",
            "configs/autorec_item.yaml",
            f"dataset={folder / 'dataset'}",
            f"run_dir={self.run}",
            "model.hidden=8",
            "model.batch_ratings=460",
            "model.regularization=0.1",
            "model.implicit_input=0",
            "model.input_dropout=0",
            "checkpoint.every=1000",
            "device=cpu",
        ]

    def start(self, epochs: int = EPOCHS):
        return started([*self.command, f"training.epochs={epochs}"], self.output)

    def epochs(self) -> list[int]:
        path = self.run / "metrics.jsonl"
        return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []

    def status(self) -> dict[str, object]:
        return json.loads((self.run / "status.json").read_text())


LAUNCHERS = {
    "alone": ["recsys-dist", "train"],
    "torchrun": ["torchrun", "--standalone", "--nproc_per_node=2", "launch/train.py"],
}


@pytest.mark.parametrize(("launcher", "code"), [("alone", 75), ("torchrun", 1)])
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path, launcher: str, code: int) -> None:
    training = Training(tmp_path, LAUNCHERS[launcher])
    with training.start() as process:
        wait_for(lambda: len(training.epochs()) >= 3, process, training.output)
        press(process)
        assert process.wait(DEADLINE_S) == code, training.output.read_text()
    told = training.output.read_text()
    assert "received SIGINT: saving; press Ctrl-C again to end at once" in told
    assert "Stopped: the state is saved. The same command continues." in told
    assert training.status()["state"] == "preempted", told
    done = len(training.epochs())

    with training.start(done + 2) as process:
        assert process.wait(DEADLINE_S) == 0, training.output.read_text()

    assert "resumes " in training.output.read_text()
    assert training.epochs() == list(range(1, done + 3))
    assert training.status()["state"] == "finished"


SLOW_TRAIN = """
import sys
import time

from recsys_dist.checkpoint import store
from recsys_dist.cli import main

if __name__ == "__main__":
    store.committed_bytes = lambda *_: time.sleep(600)
    main(["train", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("launcher", "code"), [(["python"], 130), (["torchrun", "--standalone", "--nproc_per_node=2"], 1)]
)
def test_a_second_ctrl_c_ends_at_once_and_the_run_has_failed(
    tmp_path: Path, launcher: list[str], code: int
) -> None:
    program = tmp_path / "slow_train.py"
    program.write_text(SLOW_TRAIN)
    training = Training(tmp_path, [*launcher, str(program)])
    with training.start() as process:
        wait_for(lambda: len(training.epochs()) >= 3, process, training.output)
        press(process)
        wait_for(lambda: "press Ctrl-C again" in training.output.read_text(), process, training.output)
        time.sleep(1.5 * SAME_PRESS_S)
        assert process.poll() is None, training.output.read_text()
        press(process)
        assert process.wait(DEADLINE_S) == code, training.output.read_text()
    assert training.status() == {
        "state": "failed",
        "step": 0,
        "outcome": None,
        "error": "ended by Ctrl-C before its state was saved",
    }


def test_ctrl_c_in_a_preparation_is_quiet_and_keeps_what_is_done(tmp_path: Path) -> None:
    user, item, rating = low_rank_ratings(3000, 500, 300_000)
    rows = (f"u{u},i{i},{r}\n" for u, i, r in zip(user, item, rating, strict=True))
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(rows))
    dataset, output = tmp_path / "dataset", tmp_path / "output"
    command = [
        *("recsys-dist", "prepare", "--config", "configs/prepare_csv.yaml", f"output={dataset}"),
        *(f"input.paths={tmp_path / 'ratings.csv'}", "input.block_bytes=50000", "cluster.workers=2"),
        "input.columns={user: user, item: item, rating: rating, timestamp: null}",
    ]
    with started(command, output) as process:
        wait_for(lambda: any(dataset.rglob("*.done")), process, output)
        press(process)
        assert process.wait(DEADLINE_S) == 130, output.read_text()
    told = output.read_text()
    assert "the same command resumes from there" in " ".join(told.split())
    assert "Traceback" not in told
    assert not (dataset / "manifest.json").exists()

    with started(command, output) as process:
        assert process.wait(DEADLINE_S) == 0, output.read_text()

    assert "resuming the interrupted preparation" in output.read_text()
    assert (dataset / "manifest.json").exists()


def test_ctrl_c_while_the_workers_start_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ratings.csv").write_text("user,item,rating,timestamp\n" + "u1,i1,3,1\n" * 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = ["recsys-dist", "prepare", "--config", "prepare_csv", f"input.paths={tmp_path / 'ratings.csv'}"]
    output = tmp_path / "output"

    with started([*command, f"output={tmp_path / 'dataset'}", "cluster.workers=2"], output) as process:
        # Where the workers will keep their files is made just before they start.
        wait_for(lambda: any(tmp_path.glob("recsys-dist-*")), process, output)
        press(process)
        assert process.wait(DEADLINE_S) == 130, output.read_text()

    assert "Traceback" not in output.read_text()
    assert not any(tmp_path.glob("recsys-dist-*"))
