"""Graceful stop: a signal sets a flag that the training loop checks; all ranks then save and leave.

Batch systems send SIGTERM before they kill; Slurm can send SIGUSR1 earlier (`--signal`); Ctrl-C sends SIGINT. The
first signal requests a stop. A second one goes to the previous handler, which after Ctrl-C ends the program.

One stop may arrive twice: a scheduler or a terminal may signal both the launcher and its processes, and the
launcher forwards the signal. A repetition within `SAME_STOP_S`, or `SAME_PRESS_S` after Ctrl-C, counts as the same
stop. torchrun forwards the first Ctrl-C as SIGINT and a second one as SIGTERM.

Python calls handlers between bytecode instructions, and a native call may take long. Therefore a thread receives
the signals, too, through the wakeup descriptor, to which C writes each signal immediately.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

from recsys_dist.process.ctrl_c import INTERRUPTED_STATUS

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAME_STOP_S = 10.0
SAME_PRESS_S = 1.0
GRACE_S = 2.0
"""Time for the main thread to end the program after a second Ctrl-C."""
NO_SIGNAL = b"\0"
MOST_SIGNALS = 1 << 12
"""Signals read at a time."""
logger = logging.getLogger(__name__)
_is_command: ContextVar[bool] = ContextVar("is_command", default=False)


class Preemption:
    """Callable that tells whether a stop of this process was requested."""

    def __init__(self, is_command: bool = False) -> None:
        self._is_command = is_command
        self._previous = {number: signal.getsignal(number) for number in SIGNALS}
        if self._previous[signal.SIGINT] is signal.SIG_IGN:
            # A shell ignores SIGINT for background programs, since Ctrl-C is not meant for them.
            del self._previous[signal.SIGINT]
        self._asked_at: float | None = None
        self._is_by_hand = False
        self._must_end = False
        self._is_over = threading.Event()
        self._lock = threading.RLock()

    def __call__(self) -> bool:
        """Whether a signal has arrived."""
        return self._asked_at is not None

    def install(self) -> None:
        """Catch the signals from now on."""
        self._arrivals, self._wakeup = os.pipe()
        for end in (self._arrivals, self._wakeup):
            os.set_blocking(end, False)
        self._previous_wakeup = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        for number in self._previous:
            signal.signal(number, self._on_signal)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Restore all handlers and end the thread."""
        self._restore()
        signal.set_wakeup_fd(self._previous_wakeup)
        self._is_over.set()
        os.write(self._wakeup, NO_SIGNAL)
        self._thread.join()
        os.close(self._wakeup)
        os.close(self._arrivals)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Called in the main thread, perhaps long after the signal, or once for two signals."""
        self._take_arrivals()
        if self._must_end:
            self._restore()
            signal.raise_signal(signal.SIGINT if self._is_by_hand else number)

    def _watch(self) -> None:
        """Receive each signal as it arrives; end a command whose main thread does not react."""
        arrivals = select.poll()
        arrivals.register(self._arrivals, select.POLLIN)
        while not self._is_over.is_set():
            arrivals.poll()
            self._take_arrivals()
            if self._must_end and self._is_by_hand and self._is_command and not self._is_over.wait(GRACE_S):
                os._exit(INTERRUPTED_STATUS)

    def _take_arrivals(self) -> None:
        """Handle the signals that have arrived; one of the two threads handles each signal."""
        asking: list[int] = []
        with self._lock, contextlib.suppress(BlockingIOError):
            arrived = os.read(self._arrivals, MOST_SIGNALS)
            asking += [number for number in arrived if number in self._previous and self._asks(number)]
        # Not under the lock: the signal may have interrupted the main thread while it writes a log message.
        for number in asking:
            end = "; press Ctrl-C again to end at once" if number == signal.SIGINT else " and leaving"
            logger.warning("received %s: saving%s", signal.Signals(number).name, end)

    def _asks(self, number: int) -> bool:
        """Record one signal; returns whether it is the first."""
        now = time.monotonic()
        self._is_by_hand |= number == signal.SIGINT
        if self._asked_at is None:
            self._asked_at = now
            return True
        self._must_end |= now - self._asked_at > (SAME_PRESS_S if self._is_by_hand else SAME_STOP_S)
        return False


@contextmanager
def as_command() -> Iterator[None]:
    """Mark the process as a training command: a second Ctrl-C then ends it even in native code."""
    token = _is_command.set(True)
    try:
        yield
    finally:
        _is_command.reset(token)


@contextmanager
def watch_for_preemption() -> Iterator[Preemption]:
    """Catch the signals within the block; without effect off the main thread, where Python allows no handlers."""
    preemption = Preemption(_is_command.get())
    if threading.current_thread() is not threading.main_thread():
        yield preemption
        return
    preemption.install()
    try:
        yield preemption
    finally:
        preemption.close()
