"""RUN_DIR/status.json: how a run stands, for batch scripts and reports.

    running     in training, or ended by force (SIGKILL, a second SIGTERM, a power cut) without time to write
    preempted   asked to stop, and saved
    finished    `outcome` says how: finished, converged or early_stopped
    failed      `error` says why, in one line; the same command goes on from the newest checkpoint

`step` counts whole epochs: those that a running one went on from, those that a failed one has saved, else all.
Rank 0 writes the file.
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
"""What a file has on a disk from its first byte on."""


class RunStatus:
    """Writes the file; does nothing where `is_active` is False, on all ranks but the first."""

    def __init__(self, folder: Folder, lock: RunLock, is_active: bool) -> None:
        self._folder, self._lock, self._is_active = folder, lock, is_active
        self._has_begun = False

    def begin(self, step: int) -> None:
        """The run trains from here on, after `step` epochs."""
        self._write({"state": "running", "step": step, "outcome": None})
        self._has_begun = True

    def end(self, outcome: str, step: int) -> None:
        """It came to an end with its state saved. Raises `TrainingError` where the run folder is gone."""
        if self._is_active:
            self._lock.require_in_place()
        state = "preempted" if outcome == "preempted" else "finished"
        self._write({"state": state, "step": step, "outcome": outcome})

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """Where the body fails, say so in the file, then go on failing."""
        try:
            yield
        except BaseException as error:
            # What cannot be written, in a folder that is gone or on a full disk, must not hide the error itself.
            with contextlib.suppress(OSError, RecsysDistError):
                # A mistake in the command says nothing of the run, which goes on with the right one.
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
        """Whether a run that was to go on stands here; a start that is refused leaves a finished one as it is."""
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
        """Write into the file that stands there, which has its place even on a full disk."""
        with self._folder.local_path(STATUS).open("rb+") as file:
            length = len(file.read())
            file.seek(0)
            # Blanks behind JSON are JSON: no end of a longer text is left over.
            file.write(data.ljust(length))


def _reason(error: BaseException) -> str:
    """Why a run failed, in one line; a defect of the program is told with its kind."""
    if isinstance(error, KeyboardInterrupt):
        return "ended by Ctrl-C before its state was saved"
    is_for_people = isinstance(error, RecsysDistError)
    text = refusal(error) if isinstance(error, OSError) and not is_for_people else str(error)
    kind = "" if is_for_people or isinstance(error, OSError) else error.__class__.__name__
    return ": ".join(filter(None, (kind, " ".join(text.split()))))
