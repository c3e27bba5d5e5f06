"""A tracker behind a thread, so that a slow or missing server neither delays training nor ends it.

Calls wait in a queue. What fails is warned of once and tried again with the next epoch, and for the last time at
the end of the run.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from recsys_dist.training.trackers.protocol import ExperimentTracker

PATIENCE_S = 15.0
"""How long the end of a run waits for its trackers."""
logger = logging.getLogger(__name__)
Call = Callable[[], None]


class InBackground(ExperimentTracker):
    """Passes each call on to `tracker`, in their order, from a thread of its own. Its methods return at once."""

    def __init__(self, tracker: ExperimentTracker, name: str, patience_s: float = PATIENCE_S) -> None:
        super().__init__(tracker.folder)
        self._tracker, self._name, self._patience_s = tracker, name, patience_s
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._has_warned = False

    def open(self, parameters: Mapping[str, Any], epochs_done: int) -> None:
        """Start the thread, and open the tracker."""
        self._thread.start()
        self._calls.put(partial(self._tracker.open, parameters, epochs_done))

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Pass the figures on."""
        self._calls.put(partial(self._tracker.log, epoch, figures))

    def close(self, outcome: str, figures: Mapping[str, float]) -> None:
        """Wait for what is left, at most `patience_s` seconds."""
        self._calls.put(partial(self._tracker.close, outcome, figures))
        self._calls.put(None)
        self._thread.join(self._patience_s)
        if self._thread.is_alive():
            self._warn(f"no answer for {self._patience_s:g} s")

    def _work(self) -> None:
        left: deque[Call] = deque()
        is_over = False
        while not is_over:
            waiting = [self._calls.get()]
            while not self._calls.empty():
                waiting.append(self._calls.get())
            is_over = waiting[-1] is None
            left.extend(call for call in waiting if call is not None)
            self._send(left)

    def _send(self, left: deque[Call]) -> None:
        try:
            while left:
                left[0]()
                left.popleft()
        except Exception as error:
            self._warn(" ".join(str(error).split()) or type(error).__name__)

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("training.trackers: %s: %s; training goes on", self._name, reason[:500])
