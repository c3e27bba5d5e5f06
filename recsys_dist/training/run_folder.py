"""The files of a run folder, which training writes and reports read.

RUN_DIR/
  config.yaml      the resolved configuration
  status.json      how the run stands (run_status.py): what a batch script asks, for launchers hide exit codes
  metrics.jsonl    one record per epoch; `received_mb` is what the collectives since the record before have brought
                   rank 0 from others, for training, evaluation and saving: payload alone, by network or memory
  tensorboard/     the same for TensorBoard, where training.tensorboard is set
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

CONFIG = "config.yaml"
STATUS = "status.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
LOCK = ".lock"


class RunLock:
    """Keeps other trainings out of a local run folder, until its end or that of this process, however it comes.

    Behind a URL, and on a disk that knows no locks, nothing is kept out.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file: IO[str] | None = None
        self.is_held = False
        """Whether this process alone trains in the folder; not known behind a URL and on a disk without locks."""

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def require_in_place(self) -> None:
        """Raise `TrainingError` where the run folder was removed during training, or replaced by another."""
        if not self._folder.exists(CONFIG) or self._is_another():
            raise TrainingError(
                f"run_dir: {self._folder.url} was removed or replaced during training (its {CONFIG} is missing or "
                "of another run); nothing more is written to it"
            )

    def _is_another(self) -> bool:
        """Whether another training has locked a folder of the same name since."""
        path = self._folder.local_path(LOCK) if self._file is not None else None
        if path is None or self._file is None or not path.exists():
            return False
        return not os.path.samestat(path.stat(), os.fstat(self._file.fileno()))

    def take(self) -> None:
        """Lock the folder, which is there, if that is not done yet. Raises `ConfigError` where another has it."""
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
        # Who finds the folder taken reads it; a full disk is told by what the training itself writes.
        with suppress(OSError):
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()
