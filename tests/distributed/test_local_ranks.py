"""Ranks that a process starts by itself: they meet, and none outlives a failure or its parent."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.local_ranks import run_local_ranks
from recsys_dist.errors import DataError, TrainingError

REPOSITORY = Path(__file__).resolve().parents[2]
FOREVER_S = 600.0


def tell(folder: Path, collectives: Collectives) -> None:
    numbers = collectives.gather_json([collectives.world.rank, torch.get_num_threads(), os.getpid()])
    print("not to be seen")
    (folder / str(collectives.world.rank)).write_text(repr(numbers))


def test_ranks_meet_and_compute_with_their_threads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_local_ranks(functools.partial(tell, tmp_path), 2, timeout_s=60, num_threads=3)

    first, second = ((tmp_path / str(rank)).read_text() for rank in range(2))
    assert first == second
    assert first.startswith("[[0, 3, ")
    assert "not to be seen" not in capfd.readouterr().out


def leaves_what_aborts(folder: Path, collectives: Collectives) -> None:
    collectives.any_rank(False)
    atexit.register(os.abort)
    (folder / f"{collectives.world.rank}").touch()


def test_what_would_abort_at_the_end_of_the_interpreter_fails_no_rank(tmp_path: Path) -> None:
    run_local_ranks(functools.partial(leaves_what_aborts, tmp_path), 2, timeout_s=60)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def fails(collectives: Collectives) -> None:
    if collectives.world.rank == 1:
        raise DataError("ratings are odd")
    collectives.gather_json("waits for the other")


def is_late(collectives: Collectives) -> None:
    # So that no rank leaves before all of them have met.
    collectives.any_rank(False)
    if collectives.world.rank == 1:
        time.sleep(FOREVER_S)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (fails, "rank 1 of 2: ratings are odd"),
        (is_late, "rank 1 of 2 did not end after the others had ended"),
    ],
)
def test_the_rank_that_failed_first_is_named_and_the_others_end(
    work: Callable[[Collectives], None], reason: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        run_local_ranks(work, 2, timeout_s=FOREVER_S if work is not is_late else 5)

    assert str(caught.value) == reason
    assert not [child for child in psutil.Process().children(recursive=True) if "spawn_main" in arguments(child)]


def arguments(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def sleep_in_a_file(folder: Path, collectives: Collectives) -> None:
    (folder / f"{collectives.world.rank}.pid").write_text(str(os.getpid()))
    time.sleep(FOREVER_S)


def test_no_rank_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import functools, pathlib\n"
        "from recsys_dist.distributed.local_ranks import run_local_ranks\n"
        "from tests.distributed.test_local_ranks import sleep_in_a_file\n"
        "if __name__ == '__main__':\n"
        f"    run_local_ranks(functools.partial(sleep_in_a_file, pathlib.Path({str(tmp_path)!r})), 2, 60)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, str(script)], env=environment) as parent:
        try:
            wait_until(lambda: len([path for path in tmp_path.glob("*.pid") if path.read_text()]) == 2, 60)
        finally:
            parent.kill()
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]

    wait_until(lambda: not any(psutil.pid_exists(pid) and is_alive(pid) for pid in pids), 20)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(reached: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)
