"""Ctrl-C ends a program quietly, also while its modules load.

Imports next to nothing, since it protects nothing before it is loaded itself.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED_STATUS = 128 + signal.SIGINT
IMPORT_SYSTEM = "<frozen importlib"


class QuietCtrlC:
    """A block in which Ctrl-C ends the program with `INTERRUPTED_STATUS` and without a traceback.

    It raises `KeyboardInterrupt`, which becomes `SystemExit` at the end of the block. In the midst of an import it
    ends the process at once instead: code there may take the exception for an error of its own, and go on or fail
    otherwise (numpy ends in a `RecursionError`). A program with child processes is past its loading, and has these
    to clear away.

    A SIGINT that is ignored, as for programs in the background of a shell, stays ignored. Only the main thread
    gets signals; elsewhere nothing is caught.
    """

    def __enter__(self) -> None:
        """Catch SIGINT, where nobody else does."""
        self._is_caught = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_caught:
            try:
                signal.signal(signal.SIGINT, _on_ctrl_c)
            except ValueError:  # not the main thread
                self._is_caught = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Put the handler back as it was. Raises `SystemExit` in place of `KeyboardInterrupt`."""
        if self._is_caught:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is KeyboardInterrupt:
            raise SystemExit(INTERRUPTED_STATUS)


def _on_ctrl_c(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame) and not _has_children():
        os._exit(INTERRUPTED_STATUS)
    signal.default_int_handler(number, frame)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith(IMPORT_SYSTEM):
        frame = frame.f_back
    return frame is not None


def _has_children() -> bool:
    # Where its own import has not come to its end there are none.
    active_children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    return bool(active_children())
