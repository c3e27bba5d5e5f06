"""Print the state of a training run from its status.json: running, preempted, finished, failed, or none.

A run that is killed cannot rewrite the file, so the state is `running` also after a SIGKILL or a power cut.
"""

from __future__ import annotations

import json
import sys
import time

from recsys_dist.errors import DataError
from recsys_dist.storage.folder import Folder


def read_state(run_dir: str) -> str:
    try:
        return str(json.loads(Folder(run_dir).read_bytes("status.json"))["state"])
    except DataError:
        return "none"


def settled_state(run_dir: str, patience_s: float) -> str:
    """The state, polled while `running`: a first rank on another node may write after this node's ranks end."""
    deadline = time.monotonic() + patience_s
    while (state := read_state(run_dir)) == "running" and time.monotonic() < deadline:
        time.sleep(0.5)
    return state


if __name__ == "__main__":
    sys.stdout.write(settled_state(sys.argv[1], float(sys.argv[2])) + "\n")
