"""How the threads of torch wait for one another, and how many there are, on a machine that others use as well.

OpenMP threads spin for milliseconds while they wait for work. Beside other programs they take the cores from the
very threads that they wait for, and a training takes ten times as long. Asleep at once they leave the cores to
others, but a quiet machine then pays for waking them: mf of 100,000 ratings takes twice as long. So they sleep at
once where the machine is busy when the program starts, and after some microseconds elsewhere.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

WAIT_POLICY, SPIN_COUNT = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
SHORT_SPIN = "1000"
"""Rounds of libgomp, a few microseconds: as fast as its 300,000 to within a fifth."""
NUM_THREADS = "OMP_NUM_THREADS"
LOAD = Path("/proc/loadavg")
LOOKS, PAUSE_S = 3, 0.002
LONG_PAUSE_S = 0.05
"""Before a training, which lives with what is seen for long."""


def settle_waiting() -> None:
    """Say how OpenMP threads wait. Call it before torch is loaded: the variables are read only then.

    A policy that the environment has stays. Child processes inherit it.
    """
    if "torch" not in sys.modules and not {WAIT_POLICY, SPIN_COUNT} & os.environ.keys():
        os.environ.update(_waiting(busy_cores(), os.cpu_count() or 1))


def busy_cores(pause_s: float = PAUSE_S) -> int:
    """How many threads of other programs run, or wait for a core; 0 where the system does not tell."""
    # What is in one look and not in the next was the work of a moment.
    looks = []
    for _ in range(LOOKS):
        looks.append(_running() - 1)
        time.sleep(pause_s)
    return max(0, min(looks))


def free_cores() -> int:
    """The cores that no other program uses at the moment, one at least."""
    return max(1, (os.cpu_count() or 1) - busy_cores(LONG_PAUSE_S))


def _waiting(num_busy: int, num_cores: int) -> dict[str, str]:
    return {WAIT_POLICY: "PASSIVE"} if num_busy >= num_cores else {SPIN_COUNT: SHORT_SPIN}


def _running() -> int:
    """Threads of all programs that run or wait for a core, this one included."""
    try:
        # Three averages of the load, then RUNNING/ALL.
        return int(LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1
