"""How the threads of torch wait for one another: asleep, not spinning.

OpenMP threads spin by default while they wait for work. On a machine that others use, they take the cores from the
very threads that they wait for, and a training takes ten times as long. Asleep they cost a quiet machine nothing.
"""

from __future__ import annotations

import os
import sys

WAIT_POLICY = "OMP_WAIT_POLICY"


def wait_asleep() -> None:
    """Let OpenMP threads sleep while they wait. Call it before torch is loaded: the variable is read only then.

    A value that the environment has stays. Child processes inherit it.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault(WAIT_POLICY, "PASSIVE")
