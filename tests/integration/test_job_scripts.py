"""The job scripts with stubs for torchrun, Slurm and pip: exit codes, signals, second tries."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.support.job_commands import REPOSITORY

DEADLINE_S = 60.0
PYTHON = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
EXITS = [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143)]


class Programs:
    """A folder bin/ that comes first on PATH, and a log that its programs write."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.bin.mkdir()
        self.add("python", PYTHON)

    def add(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text if text.startswith("#!") else f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    def add_logged(self, name: str, text: str = "") -> None:
        """A program that logs its arguments first."""
        self.add(name, f'echo "{name} $*" >>"{self.log}"\n{text}')

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def start(self, command: Sequence[str | Path], **settings: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment.pop("OMP_NUM_THREADS", None)
        environment |= {"PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY), **settings}
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
            env=environment,
            start_new_session=True,
        )

    def run(self, command: Sequence[str | Path], **settings: str) -> tuple[int, str]:
        """Its exit code and output."""
        return ended(self.start(command, **settings))


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a script; one that does not end is killed with all that it has started."""
    with process:
        try:
            output, _ = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.02)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


TRAIN_NODE = ("bash", "launch/train_node.sh", "launch/train.py")


@pytest.mark.parametrize(("torchrun", "code"), EXITS)
def test_a_node_ends_as_its_torchrun_did(programs: Programs, tmp_path: Path, torchrun: str, code: int) -> None:
    programs.add("torchrun", torchrun)

    assert programs.run(TRAIN_NODE, RUN_DIR=str(tmp_path / "run")) == (code, "")


@pytest.mark.parametrize(("state", "code"), [("preempted", 75), ("finished", 3), ("failed", 3)])
def test_a_node_that_is_told_to_stop_waits_until_torchrun_has_saved(
    programs: Programs, tmp_path: Path, state: str, code: int
) -> None:
    ready = tmp_path / "ready"
    save = f"sleep 0.5; cp {tmp_path}/next.json {tmp_path}/status.json; exit 3"
    (tmp_path / "next.json").write_text(json.dumps({"state": state}))
    programs.add("torchrun", f"trap '{save}' TERM\ntouch {ready}\nwhile true; do sleep 0.1; done")
    process = programs.start(TRAIN_NODE, RUN_DIR=str(tmp_path))
    wait_for(ready)

    process.send_signal(signal.SIGTERM)

    assert ended(process)[0] == code


def test_a_node_that_is_told_to_stop_before_torchrun_runs_does_not_start_it(
    programs: Programs, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    programs.add("python", f"touch {ready}\nsleep 1\necho none")
    programs.add_logged("torchrun")
    process = programs.start(TRAIN_NODE, RUN_DIR=str(tmp_path / "run"))
    wait_for(ready)

    process.send_signal(signal.SIGTERM)

    assert ended(process)[0] == 143
    assert programs.calls() == []


DEAF = "trap '' TERM; exec sleep 99"  # what is ignored stays so in the program that follows
"""Takes no notice of SIGTERM, as a torchrun that waits for an answer from another node."""
A_RANK = "sleep 0.1; true"


@pytest.mark.parametrize(
    ("torchrun", "limits"),
    [
        ("exec sleep 99", {"START_SECONDS": "1"}),
        (f"{A_RANK}; exec sleep 99", {"END_SECONDS": "1", "START_SECONDS": "3"}),
        (f"{A_RANK}; {DEAF}", {"END_SECONDS": "0", "START_SECONDS": "0"}),
    ],
    ids=["never started a rank", "its rank has ended", "and it waits for the network"],
)
def test_a_torchrun_without_ranks_does_not_keep_its_node(
    programs: Programs, tmp_path: Path, torchrun: str, limits: dict[str, str]
) -> None:
    programs.add("torchrun", torchrun)

    code, output = programs.run(TRAIN_NODE, RUN_DIR=str(tmp_path / "run"), **limits)

    assert code == 1
    assert "torchrun has had no running rank for" in output


def test_a_torchrun_whose_ranks_run_is_left_alone(programs: Programs, tmp_path: Path) -> None:
    programs.add("torchrun", "sleep 6; exit 3")

    limits = {"END_SECONDS": "60", "START_SECONDS": "2"}
    assert programs.run(TRAIN_NODE, RUN_DIR=str(tmp_path / "run"), **limits) == (3, "")


@pytest.mark.parametrize(("before", "code"), [("running", 0), ("finished", 1)])
def test_a_run_that_finished_before_torchrun_was_left_alone_is_finished(
    programs: Programs, tmp_path: Path, before: str, code: int
) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"state": before}))
    (tmp_path / "next.json").write_text(json.dumps({"state": "finished"}))
    programs.add("torchrun", f"cp {tmp_path}/next.json {tmp_path}/status.json; exec sleep 99")

    assert programs.run(TRAIN_NODE, RUN_DIR=str(tmp_path), START_SECONDS="1")[0] == code


@pytest.mark.parametrize(("settings", "rank"), [({}, "0"), ({"SLURM_NODEID": "3"}, "3")])
def test_slurm_numbers_the_nodes(programs: Programs, tmp_path: Path, settings: dict[str, str], rank: str) -> None:
    programs.add("torchrun", "echo rank=$PET_NODE_RANK")

    assert programs.run(TRAIN_NODE, RUN_DIR=str(tmp_path / "run"), **settings) == (0, f"rank={rank}\n")


def slurm_job(programs: Programs, script: str, **settings: str) -> tuple[int, str]:
    """Run a batch script as Slurm would start it."""
    allocation = {
        "SLURM_SUBMIT_DIR": str(REPOSITORY),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node-a",
        "SLURM_JOB_NUM_NODES": "1",
        "RECSYS_VENV": str(programs.bin.parent),
    }
    programs.add_logged("scontrol", "echo node-a")
    programs.add("squeue", "echo RUNNING")
    return programs.run(["bash", REPOSITORY / "launch" / "slurm" / script], **allocation, **settings)


@pytest.mark.parametrize(("srun", "code"), [*EXITS, ("exit 75", 75)])
def test_a_training_job_ends_as_its_step_did_and_queues_again_only_when_saved(
    programs: Programs, tmp_path: Path, srun: str, code: int
) -> None:
    programs.add("srun", srun)

    ended_with, output = slurm_job(programs, "train.sbatch", DATASET="data", RUN_DIR=str(tmp_path / "run"))

    assert ended_with == code, output
    assert ("scontrol requeue 7" in programs.calls()) == (code == 75)


def test_the_nodes_of_a_training_job_meet_at_the_first_and_wait_for_no_lost_one(
    programs: Programs, tmp_path: Path
) -> None:
    programs.add_logged("srun")

    code, output = slurm_job(programs, "train.sbatch", DATASET="data", RUN_DIR=str(tmp_path / "run"))

    assert code == 0, output
    (step,) = [call.split() for call in programs.calls() if call.startswith("srun ")]
    assert {"--wait=900", "--master-addr=node-a", "--master-port=20007"} <= set(step)
    assert not [word for word in step if word.startswith("--rdzv-backend")], (
        "static alone asks for nothing meanwhile"
    )


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        ({"SLURM_CPUS_PER_TASK": "16", "SLURM_GPUS_ON_NODE": "8"}, "2"),
        ({"SLURM_CPUS_PER_TASK": "16", "SLURM_GPUS_ON_NODE": "8", "NPROC_PER_NODE": "4"}, "4"),
        ({"SLURM_CPUS_PER_TASK": "2", "NPROC_PER_NODE": "4"}, "1"),
        ({"SLURM_CPUS_PER_TASK": "16", "OMP_NUM_THREADS": "3"}, "3"),
        ({}, "1"),
    ],
)
def test_the_processes_of_a_node_share_its_cpus(
    programs: Programs, tmp_path: Path, settings: dict[str, str], threads: str
) -> None:
    programs.add("srun", "echo threads=$OMP_NUM_THREADS")

    done = slurm_job(programs, "train.sbatch", DATASET="data", RUN_DIR=str(tmp_path / "run"), **settings)

    assert done == (0, f"threads={threads}\n")


@pytest.mark.parametrize(
    ("restarts", "is_merged", "stages"),
    [("0", True, ["merge", "evaluate"]), ("1", False, ["merge", "evaluate"]), ("1", True, ["evaluate"])],
)
def test_an_evaluation_that_slurm_starts_again_keeps_the_model_of_its_earlier_try(
    programs: Programs, tmp_path: Path, restarts: str, is_merged: bool, stages: list[str]
) -> None:
    model = tmp_path / "model"
    if is_merged:
        model.mkdir()
        (model / "model.json").touch()
    programs.add_logged("recsys-dist")
    settings = {"DATASET": "data", "RUN_DIR": str(tmp_path / "run"), "MODEL_DIR": str(model)}

    code, output = slurm_job(programs, "evaluate.sbatch", **settings, SLURM_RESTART_COUNT=restarts)

    assert code == 0, output
    assert [call.split()[1] for call in programs.calls()] == stages


def test_an_evaluation_that_kubernetes_tries_again_keeps_the_model_of_its_earlier_try(
    programs: Programs, tmp_path: Path
) -> None:
    job = yaml.safe_load((REPOSITORY / "launch" / "k8s" / "evaluate.yaml").read_text())
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    command = [word.replace("/data/", f"{tmp_path}/data/") for word in command]
    programs.add_logged("recsys-dist", 'if [[ $1 == merge ]]; then mkdir -p "$4" && touch "$4/model.json"; fi')

    for _ in range(2):
        code, output = programs.run(command)
        assert code == 0, output

    assert [call.split()[1] for call in programs.calls()] == ["merge", "evaluate", "evaluate"]


@pytest.fixture
def checkout(programs: Programs, tmp_path: Path) -> Path:
    """A copy of what setup.sh reads, and an interpreter that makes an environment which only logs."""
    checkout = tmp_path / "checkout"
    (checkout / "launch").mkdir(parents=True)
    for name in ("launch/setup.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, checkout / name)
    programs.add_logged("venv-python", 'if [[ $1 == -c ]]; then echo "torch==2.13.0"; fi')
    make = f'mkdir -p .venv/bin && cp "{programs.bin}/venv-python" .venv/bin/python'
    programs.add("python", f'if [[ $1 == -m ]]; then {make}; else exec "{sys.executable}" "$@"; fi')
    return checkout


def installed_by_setup(programs: Programs, checkout: Path, extras: str) -> list[str]:
    """Run setup.sh; what it has told pip to install, "." for the project."""
    programs.log.unlink(missing_ok=True)
    command: list[str | Path] = ["bash", checkout / "launch" / "setup.sh", extras]
    code, output = programs.run(command, PYTHON=str(programs.bin / "python"))
    assert code == 0, output
    return [call.split()[-1] for call in programs.calls() if " install " in call]


def test_setup_installs_only_what_is_not_there_yet(programs: Programs, checkout: Path) -> None:
    asked = ["dev,s3", "s3", "", "report", "dev,report", "s3,tensorboard"]

    installed = [installed_by_setup(programs, checkout, extras) for extras in asked]

    assert installed == [[".[dev,s3]"], [], [], [".[report]"], [], [".[s3,tensorboard]"]]


def test_setup_makes_an_environment_without_pip_again(programs: Programs, checkout: Path) -> None:
    half_made = checkout / ".venv" / "bin" / "python"
    half_made.parent.mkdir(parents=True)
    half_made.write_text("#!/bin/sh\necho No module named pip >&2\nexit 1\n")
    half_made.chmod(0o755)

    assert installed_by_setup(programs, checkout, "") == ["."]
