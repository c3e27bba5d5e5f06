"""RUN_DIR/status.json: the state of a run, for batch scripts and reports.

    running     in training, or killed (SIGKILL, a second SIGTERM, a power cut) without time to write
    preempted   stopped on request, state saved
    finished    `outcome` says how: finished, converged or early_stopped
    failed      `error` says why, in one line; the same command resumes from the newest checkpoint

`step` counts completed epochs: of a running run at its start, of a failed run in its newest checkpoint, otherwise
all. Rank 0 writes the file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, committed_names
from recsys_dist.errors import ConfigError, DataError, RecsysDistError, refusal
from recsys_dist.storage.folder import Folder
from recsys_dist.training.run_folder import STATUS, RunLock

LONGEST_ERROR = 2000
"""In characters."""
BLOCK_BYTES = 4096
"""Disk space that a file occupies from its first byte on."""


class RunStatus:
    """Writes the file; does nothing if `is_active` is False, as on all ranks but the first."""

    def __init__(self, folder: Folder, lock: RunLock, is_active: bool) -> None:
        self._folder, self._lock, self._is_active = folder, lock, is_active
        self._has_begun = False

    def begin(self, step: int) -> None:
        """Mark the run as running, after `step` epochs."""
        self._write({"state": "running", "step": step, "outcome": None})
        self._has_begun = True

    def end(self, outcome: str, step: int) -> None:
        """Mark the run as ended, with its state saved. Raises `TrainingError` if the run folder is gone."""
        if self._is_active:
            self._lock.require_in_place()
        state = "preempted" if outcome == "preempted" else "finished"
        self._write({"state": state, "step": step, "outcome": outcome})

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """If the body fails, record the failure in the file and raise the error again."""
        try:
            yield
        except BaseException as error:
            # A failed write, to a missing folder or a full disk, must not hide the error itself.
            with contextlib.suppress(OSError, RecsysDistError):
                # A wrong command is no failure of the run, which the right command resumes.
                if self._has_begun or not isinstance(error, ConfigError):
                    self._fail(_reason(error))
            raise

    def _fail(self, reason: str) -> None:
        if not self._is_active or not (self._has_begun or self._is_of_broken_run()):
            return
        if self._has_begun:
            self._lock.require_in_place()
        saved = committed_names(self._folder.child(CHECKPOINTS))
        step = saved[-1].step if saved else 0
        self._write({"state": "failed", "step": step, "outcome": None, "error": reason[:LONGEST_ERROR]})

    def _is_of_broken_run(self) -> bool:
        """Whether the folder holds an unfinished run; a refused start does not change a finished one."""
        if not self._lock.is_held:
            return False
        try:
            status: Any = json.loads(self._folder.read_bytes(STATUS))
            return bool(status["state"] != "finished")
        except (DataError, ValueError, TypeError, KeyError):
            return False

    def _write(self, status: dict[str, Any]) -> None:
        if not self._is_active:
            return
        data = (json.dumps(status) + "\n").encode()
        try:
            self._folder.write_bytes(STATUS, data)
        except OSError:
            if not self._folder.is_local or len(data) > BLOCK_BYTES:
                raise
            self._overwrite(data)

    def _overwrite(self, data: bytes) -> None:
        """Overwrite the existing file in place, which works even on a full disk."""
        with self._folder.local_path(STATUS).open("rb+") as file:
            length = len(file.read())
            file.seek(0)
            # Pad with blanks, which JSON allows, to erase the end of a longer text.
            file.write(data.ljust(length))


def _reason(error: BaseException) -> str:
    """Reason of a failure, in one line; unexpected errors include their type."""
    if isinstance(error, KeyboardInterrupt):
        return "ended by Ctrl-C before its state was saved"
    is_for_people = isinstance(error, RecsysDistError)
    text = refusal(error) if isinstance(error, OSError) and not is_for_people else str(error)
    kind = "" if is_for_people or isinstance(error, OSError) else error.__class__.__name__
    return ": ".join(filter(None, (kind, " ".join(text.split()))))
