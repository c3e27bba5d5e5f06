"""Wait policy and number of torch's threads on a shared machine.

OpenMP threads spin for milliseconds while they wait for work. On a busy machine they take cores from the very
threads they wait for, and training takes ten times as long. Threads that sleep immediately leave the cores to
others, but waking them costs time: on an idle machine, mf on 100,000 ratings takes twice as long. So threads sleep
immediately if the machine is busy at program start, and after a few microseconds otherwise.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

WAIT_POLICY, SPIN_COUNT = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
SHORT_SPIN = "1000"
"""Spins of libgomp, a few microseconds; within 20% of the speed of its default, 300,000."""
NUM_THREADS = "OMP_NUM_THREADS"
LOAD = Path("/proc/loadavg")
LOOKS, PAUSE_S = 3, 0.002
LONG_PAUSE_S = 0.05
"""Pause before a training, for which the result matters longer."""


def settle_waiting() -> None:
    """Set the wait policy of OpenMP threads. Call it before torch is loaded, which reads the variables.

    Keeps a policy from the environment. Child processes inherit it.
    """
    if "torch" not in sys.modules and not {WAIT_POLICY, SPIN_COUNT} & os.environ.keys():
        os.environ.update(_waiting(busy_cores(), os.cpu_count() or 1))


def busy_cores(pause_s: float = PAUSE_S) -> int:
    """Number of threads of other programs that run or wait for a core; 0 if unknown."""
    # The minimum over several samples ignores short bursts.
    looks = []
    for _ in range(LOOKS):
        looks.append(_running() - 1)
        time.sleep(pause_s)
    return max(0, min(looks))


def free_cores() -> int:
    """Number of cores that no other program uses at the moment, at least one."""
    return max(1, (os.cpu_count() or 1) - busy_cores(LONG_PAUSE_S))


def _waiting(num_busy: int, num_cores: int) -> dict[str, str]:
    return {WAIT_POLICY: "PASSIVE"} if num_busy >= num_cores else {SPIN_COUNT: SHORT_SPIN}


def _running() -> int:
    """Number of threads of all programs, including this one, that run or wait for a core."""
    try:
        # The file has three load averages, then RUNNING/ALL.
        return int(LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1
