"""Ctrl-C ends a program quietly, even while its modules load.

Imports almost nothing, since protection starts only once this module is loaded.
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

    Ctrl-C raises `KeyboardInterrupt`, which becomes `SystemExit` at the end of the block. During an import it ends
    the process at once instead: importing code may take the exception for its own error and continue, or fail in
    another way (numpy ends in a `RecursionError`). The exception is a program with child processes, which is past
    its loading and must clean them up.

    An ignored SIGINT, as for background programs of a shell, stays ignored. Only the main thread receives signals;
    in other threads nothing is caught.
    """

    def __enter__(self) -> None:
        """Catch SIGINT, unless another handler is installed."""
        self._is_caught = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_caught:
            try:
                signal.signal(signal.SIGINT, _on_ctrl_c)
            except ValueError:  # not the main thread
                self._is_caught = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Restore the handler. Raises `SystemExit` instead of `KeyboardInterrupt`."""
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
    # Without the attribute, multiprocessing is still being imported, so there are no children.
    active_children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    return bool(active_children())
