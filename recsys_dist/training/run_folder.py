"""The files of a run folder, written by training and read by reports.

RUN_DIR/
  config.yaml      the resolved configuration
  status.json      state of the run (run_status.py) for batch scripts, since launchers hide exit codes
  metrics.jsonl    one record per epoch; `received_mb` is the payload that rank 0 received from others since the
                   last record, for training, evaluation and saving, by network or shared memory; `peak_memory_mb`
                   the most that was resident so far, on the rank with the most
  plan.json        memory, traffic and checkpoint as planned before the start (plan.py)
  tensorboard/     the same for TensorBoard, if it is one of training.trackers; likewise wandb/
  mlflow.json      the id of the run in MLflow, likewise; wandb.json: in Weights & Biases
  checkpoints/     see recsys_dist/checkpoint/manifest.py
  .lock            held by the training that writes here, on a local disk
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from types import TracebackType
from typing import IO

from recsys_dist.errors import ConfigError, TrainingError
from recsys_dist.storage.folder import Folder
from recsys_dist.storage.holdings import OF_RUN

CONFIG = OF_RUN
STATUS = "status.json"
METRICS = "metrics.jsonl"
PLAN = "plan.json"
TENSORBOARD = "tensorboard"
LOCK = ".lock"


class RunLock:
    """Locks a local run folder against other trainings until the block or the process ends.

    Has no effect behind a URL, and on a disk without locks.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file: IO[str] | None = None
        self.is_held = False
        """Whether this process holds the lock; always False behind a URL and on a disk without locks."""

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def require_in_place(self) -> None:
        """Raise `TrainingError` if the run folder was removed or replaced during training."""
        if not self._folder.exists(CONFIG) or self._is_another():
            raise TrainingError(
                f"run_dir: {self._folder.url} was removed or replaced during training (its {CONFIG} is missing or "
                "belongs to another run); training stops without writing to it"
            )

    def _is_another(self) -> bool:
        """Whether another training has created and locked a new folder of the same name."""
        path = self._folder.local_path(LOCK) if self._file is not None else None
        if path is None or self._file is None or not path.exists():
            return False
        return not os.path.samestat(path.stat(), os.fstat(self._file.fileno()))

    def take(self) -> None:
        """Lock the existing folder, once. Raises `ConfigError` if another training holds the lock."""
        if self._file is not None or not self._folder.is_local:
            return
        self._file = self._folder.local_path(LOCK).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            raise ConfigError(
                f"run_dir: another training ({self._file.read().strip()}) is writing to {self._folder.url}; wait "
                "for its end, or use another run_dir"
            ) from None
        except OSError:
            return
        self.is_held = True
        self._file.truncate(0)
        # For the error message of another training. A full disk is reported by the training's own writes.
        with suppress(OSError):
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()
