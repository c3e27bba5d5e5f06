"""launch/slurm under a real Slurm: three dependent jobs on two nodes, and a training that Slurm interrupts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.config import load_settings
from recsys_dist.errors import BrokenOffError
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.support.job_commands import REPOSITORY
from tests.support.prepared import small_dataset
from tests.support.slurm import SlurmCluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(600)]

MOVIETWEETINGS = REPOSITORY / "tests" / "data" / "movietweetings" / "ratings.dat.gz"
TWO_NODES = ("--nodes=2",)
LONG = 400  # epochs: long enough to be interrupted, short enough to be finished


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """What all three jobs are told by their environment."""
    names = {"DATASET": "dataset", "RUN_DIR": "run", "MODEL_DIR": "model", "REPORT": "report.json"}
    return {name: str(tmp_path / value) for name, value in names.items()} | {"RECSYS_VENV": sys.prefix}


def status(settings: dict[str, str]) -> dict[str, Any]:
    return json.loads((Path(settings["RUN_DIR"]) / "status.json").read_text())


def epochs_logged(settings: dict[str, str]) -> list[int]:
    path = Path(settings["RUN_DIR"]) / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []


def test_prepare_train_and_evaluate_as_dependent_jobs(
    slurm_cluster: SlurmCluster, settings: dict[str, Any]
) -> None:
    data: dict[str, Any] = {"INPUT": str(MOVIETWEETINGS), "CONFIG": "configs/prepare_movietweetings.yaml"}
    prepare = slurm_cluster.submit("prepare.sbatch", "shards.users=3", **settings, **data)
    after = (f"--dependency=afterok:{prepare}", *TWO_NODES)
    train = slurm_cluster.submit("train.sbatch", "training.epochs=2", options=after, **settings)
    evaluate = slurm_cluster.submit("evaluate.sbatch", options=(f"--dependency=afterok:{train}",), **settings)

    for job in (prepare, train, evaluate):
        assert slurm_cluster.wait(job, timeout_s=240)["JobState"] == "COMPLETED", slurm_cluster.log(job)

    assert status(settings)["state"] == "finished"
    assert epochs_logged(settings) == [1, 2]
    report = json.loads(Path(settings["REPORT"]).read_text())
    assert 0 < report["rmse"] < report["baselines"]["global_mean"]["rmse"]


def start_long_training(cluster: SlurmCluster, settings: dict[str, str]) -> str:
    """Submit a training on two nodes and return its job's id when it has done a few epochs."""
    small_dataset(Path(settings["DATASET"]), num_users=400, num_items=150, num_ratings=12000)
    keys = (
        f"training.epochs={LONG}",
        "training.patience=null",
        "checkpoint.every=50",
        "model.factors=4",
        "model.tolerance=0",
    )
    job = cluster.submit("train.sbatch", *keys, options=TWO_NODES, **settings)
    cluster.wait_until(job, lambda _: len(epochs_logged(settings)) >= 3)
    return job


@pytest.mark.parametrize(
    "interruption",
    [
        ("scancel", "--signal=TERM", "--batch"),  # what --signal=B:TERM@180 sends before the time limit
        ("scontrol", "requeue"),  # what a preemption does
    ],
    ids=" ".join,
)
def test_an_interrupted_training_saves_queues_again_and_finishes(
    slurm_cluster: SlurmCluster, settings: dict[str, Any], interruption: tuple[str, ...]
) -> None:
    job = start_long_training(slurm_cluster, settings)

    slurm_cluster.command(*interruption, job)
    slurm_cluster.wait_until(job, lambda seen: seen["Restarts"] == "1" and seen["JobState"] == "PENDING")
    slurm_cluster.wait_until_idle()
    saved = status(settings)
    # Slurm keeps a requeued job back for two minutes, until no credential of its first start can still be valid.
    # An administrator may let it go earlier, but not within the second in which they were revoked.
    slurm_cluster.command("scontrol", "update", f"JobId={job}", "StartTime=now+3")
    ended = slurm_cluster.wait(job, timeout_s=240)

    log = slurm_cluster.log(job)
    assert ended["JobState"] == "COMPLETED", log
    assert saved["state"] == "preempted", log
    assert 0 < saved["step"] < LONG
    assert f"resumes after epoch {saved['step']}" in log
    assert status(settings) == {"state": "finished", "step": LONG, "outcome": "finished"}
    assert epochs_logged(settings) == list(range(1, LONG + 1))


def test_a_cancelled_training_saves_and_stays_ended(slurm_cluster: SlurmCluster, settings: dict[str, str]) -> None:
    job = start_long_training(slurm_cluster, settings)

    slurm_cluster.command("scancel", job)
    ended = slurm_cluster.wait(job)
    slurm_cluster.wait_until_idle()

    assert (ended["JobState"], slurm_cluster.job(job)["Restarts"]) == ("CANCELLED", "0")
    assert status(settings)["state"] == "preempted"


def test_a_training_that_fails_is_not_queued_again(slurm_cluster: SlurmCluster, settings: dict[str, str]) -> None:
    job = slurm_cluster.submit("train.sbatch", options=TWO_NODES, **settings)

    ended = slurm_cluster.wait(job)

    assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "0")
    (complaint,) = [line for line in slurm_cluster.log(job).splitlines() if line.startswith("error: ")]
    assert settings["DATASET"] in complaint


@pytest.fixture
def on_slurm(
    slurm_cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., PrepareConfig]:
    """Makes settings of a preparation whose workers are jobs; further ones of the jobs may be given."""
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def make(**more: object) -> PrepareConfig:
        paths = [f"input.paths={MOVIETWEETINGS.resolve()}", "items=null", f"output={tmp_path / 'out'}"]
        jobs = {"host": "127.0.0.1", "partition": "main", "walltime": "00:10:00", **more}
        cluster = [
            f"cluster={{kind: slurm, workers: 2, memory_limit: 900MiB, slurm: {json.dumps(jobs)}}}",
            "input.block_bytes=300000",
        ]
        return load_settings(PrepareConfig, REPOSITORY / "configs/prepare_movietweetings.yaml", [*paths, *cluster])

    return make


def test_prepare_submits_its_workers_as_jobs(
    slurm_cluster: SlurmCluster, tmp_path: Path, on_slurm: Callable[..., PrepareConfig]
) -> None:
    assert prepare(on_slurm()).rows.kept == 100_000
    slurm_cluster.wait_until_idle()
    assert not list(tmp_path.glob(".recsys-dist-*"))


def test_prepare_gives_up_jobs_that_do_not_start(
    slurm_cluster: SlurmCluster, tmp_path: Path, on_slurm: Callable[..., PrepareConfig]
) -> None:
    settings = on_slurm(directives=["--begin=now+1hour"], start_timeout_s=2)
    with pytest.raises(
        BrokenOffError,
        match=r"no worker started within 2 s .*: job \d+ is PENDING \(BeginTime\); job \d+ is PENDING",
    ):
        prepare(settings)
    assert not slurm_cluster.command("squeue", "--noheader")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".recsys-dist-*"))
