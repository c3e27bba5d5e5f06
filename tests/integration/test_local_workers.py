"""Local workers of a program of ours: forked from a process that has loaded what they need."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from recsys_dist.preparation.cluster.cluster import open_cluster
from recsys_dist.preparation.settings.prepare import ClusterSettings

PROGRAM = """
import os
from recsys_dist.preparation.cluster.local_workers import start_loading
from tests.integration.test_local_workers import tell_of_a_worker

if __name__ == "__main__":
    {first}
    os.environ["CHANGED_LATER"] = "yes"
    tell_of_a_worker()
"""


def see() -> tuple[str | None, str, bool]:
    """A variable, the command line of the parent, and whether the tasks are loaded before the first of them."""
    parent = " ".join(psutil.Process(os.getppid()).cmdline())
    return os.environ.get("CHANGED_LATER"), parent, "recsys_dist.preparation.tasks.tasks" in sys.modules


def tell_of_a_worker() -> None:
    """Print what a worker sees."""
    with open_cluster(ClusterSettings(kind="local", workers=1), num_blocks=1) as cluster:
        print(json.dumps(cluster.run("see", see, [()], ["it"])[0]))


@pytest.mark.parametrize("is_forked", [True, False])
def test_workers_have_the_environment_of_the_moment(is_forked):
    # In a process of its own, since the process that workers are forked from stays until that ends.
    program = PROGRAM.format(first="start_loading()" if is_forked else "pass")
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    value, parent, is_loaded = json.loads(told.stdout)
    assert value == "yes"
    assert ("multiprocessing.forkserver" in parent) == is_forked
    assert is_loaded == is_forked


def test_the_process_that_workers_are_forked_from_ends_with_a_program_that_is_killed():
    program = (
        "import time; from recsys_dist.preparation.cluster.local_workers import start_loading\n"
        "start_loading(); print('started', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 30
        while (server := _forkserver_of(process.pid)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _forkserver_of(pid: int) -> psutil.Process | None:
    """A process that has just been started has the command line of its parent for a moment."""
    children = psutil.Process(pid).children()
    return next((child for child in children if "forkserver" in " ".join(child.cmdline())), None)
