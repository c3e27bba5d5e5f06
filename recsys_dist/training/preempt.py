"""A polite stop: SIGTERM or SIGUSR1 sets a flag that the training loop asks for, and all ranks save and leave.

Batch systems send SIGTERM before they kill; Slurm can send SIGUSR1 earlier (`--signal`). Where a scheduler signals
the launcher and its processes alike, and the launcher passes the signal on, one stop arrives twice: a repetition
within `SAME_STOP_S` is the same stop. A later one means business and gets the handler that stood before.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
SAME_STOP_S = 10.0
logger = logging.getLogger(__name__)


class Preemption:
    """Whether this process was asked to stop; call it to know."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._previous = {number: signal.getsignal(number) for number in SIGNALS}

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self._asked_at is not None

    def install(self) -> None:
        """Catch the signals from now on."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def restore(self) -> None:
        """Put back the handlers that stood before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            logger.warning("received %s: saving and leaving", signal.Signals(number).name)
        elif now - self._asked_at > SAME_STOP_S:
            self.restore()
            signal.raise_signal(number)


@contextmanager
def watch_for_preemption() -> Iterator[Preemption]:
    """Catch the signals within the block. Off the main thread, where Python allows no handlers, never set."""
    preemption = Preemption()
    if threading.current_thread() is not threading.main_thread():
        yield preemption
        return
    preemption.install()
    try:
        yield preemption
    finally:
        preemption.restore()
