"""`recsys-dist verify-parity` as a user types it, on ranks of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.job_commands import REPOSITORY
from tests.support.prepared import small_dataset

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).parent / "recsys-dist"


@contextmanager
def verify_parity(folder: Path, *arguments: str, kind: str = "mf") -> Iterator[subprocess.Popen[str]]:
    """The running command; what it leaves in its temporary folder is `folder/tmp`."""
    small_dataset(folder / "dataset")
    (folder / "tmp").mkdir()
    told = ["--config", f"configs/{kind}.yaml", f"dataset={folder / 'dataset'}", *arguments]
    told += ["model.factors=4"] if kind == "mf" else []
    with subprocess.Popen(
        [str(COMMAND), "verify-parity", *told],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_training(process: subprocess.Popen[str], folder: Path) -> list[psutil.Process]:
    """The ranks, when they have an epoch behind them."""
    deadline = time.monotonic() + 120
    while not list(folder.glob("tmp/*/0/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(process.pid).children()
    ranks = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
    assert len(ranks) == 2
    return sorted(ranks, key=lambda one: one.pid)


def test_one_and_two_ranks_give_the_same_model(tmp_path: Path) -> None:
    with verify_parity(tmp_path, "--ranks", "1,2", f"run_dir={tmp_path / 'run'}") as process:
        out, err = process.communicate(timeout=240)

    assert process.returncode == 0, out + err
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert [(row[0], row[3]) for row in rows] == [("1", "the reference"), ("2", "equal, bit for bit")]
    assert rows[0][2] == rows[1][2]
    assert len(rows[0][2]) == 16
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("parallel", ["ddp", "sharded"])
def test_autorec_gives_the_same_model_within_the_tolerance_that_is_advised(tmp_path: Path, parallel: str) -> None:
    asked = ["--ranks", "1,2", "--tolerance", "1e-3", f"model.parallel={parallel}", "model.hidden=8"]
    with verify_parity(tmp_path, *asked, kind="autorec_user") as process:
        out, err = process.communicate(timeout=240)

    assert process.returncode == 0, out + err
    assert "equal up to " in out


def test_a_killed_rank_ends_the_command_with_its_name(tmp_path: Path) -> None:
    with verify_parity(tmp_path, "--ranks", "2,2", "--epochs", "1000000", "training.patience=null") as process:
        ranks = wait_for_training(process, tmp_path)
        ranks[1].kill()
        _, err = process.communicate(timeout=120)

    assert process.returncode == 2
    assert err.splitlines()[-1] == (
        "error: training on 2 ranks failed: rank 1 of 2 was killed by SIGKILL, "
        "perhaps because the machine ran out of memory"
    )
    assert "Traceback" not in err
    assert not any(rank.is_running() for rank in ranks)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_command_that_is_told_to_stop_leaves_nothing(tmp_path: Path) -> None:
    with verify_parity(tmp_path, "--ranks", "2,2", "--epochs", "1000000", "training.patience=null") as process:
        ranks = wait_for_training(process, tmp_path)
        process.terminate()
        process.communicate(timeout=120)

    assert process.returncode == 128 + signal.SIGTERM
    assert not any(rank.is_running() for rank in ranks)
    assert list((tmp_path / "tmp").iterdir()) == []
