"""The files of a run folder, which training writes and reports read.

RUN_DIR/
  config.yaml      the resolved configuration
  status.json      running, preempted or finished: what a batch script asks, for launchers hide exit codes
  metrics.jsonl    one record per epoch
  tensorboard/     the same for TensorBoard, where training.tensorboard is set
  checkpoints/     see recsys_dist/checkpoint/manifest.py
  .lock            held by the training that writes here, on a local disk
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import ExitStack

from recsys_dist.errors import ConfigError
from recsys_dist.storage import Folder

CONFIG = "config.yaml"
STATUS = "status.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
LOCK = ".lock"


def lock(folder: Folder, until: ExitStack) -> None:
    """Keep other trainings out of a local run folder `until` its end, or that of this process, however it comes.

    Raises `ConfigError` where another one has it. Behind a URL, and on a disk that knows no locks, nothing is kept
    out.
    """
    if not folder.is_local:
        return
    folder.make()
    file = until.enter_context(folder.local_path(LOCK).open("a+"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise ConfigError(
            f"run_dir: another training ({file.read().strip()}) is writing to {folder.url}; wait for its end, or "
            "use another run_dir"
        ) from None
    except OSError:
        return
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
