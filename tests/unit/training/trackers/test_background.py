"""Nothing that a tracker does in its thread ends or delays a training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from recsys_dist.storage.folder import Folder
from recsys_dist.training.trackers.background import InBackground
from recsys_dist.training.trackers.protocol import ExperimentTracker


class Recorder(ExperimentTracker):
    """Keeps what it is told; `fails` is how many calls fail before one does not."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__(Folder("memory://recorder"))
        self.told: list[Any] = []
        self._fails = fails

    def open(self, parameters: Mapping[str, Any], epochs_done: int) -> None:
        self._tell(("open", dict(parameters), epochs_done))

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._tell((epoch, dict(figures)))

    def close(self, outcome: str, figures: Mapping[str, float]) -> None:
        self._tell((outcome, dict(figures)))

    def _tell(self, what: Any) -> None:
        if self._fails:
            self._fails -= 1
            raise ConnectionError("the server\nis away")
        self.told.append(what)


ALL = [("open", {"seed": 1}, 0), (1, {"x": 1.0}), (2, {"x": 2.0}), ("finished", {"best": 1.0})]


def follow(tracker: ExperimentTracker) -> None:
    tracker.open({"seed": 1}, 0)
    for epoch in (1, 2):
        tracker.log(epoch, {"x": float(epoch)})
        time.sleep(0.05)
    tracker.close("finished", {"best": 1.0})


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_what_fails_is_sent_later_in_the_same_order(fails: int, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(fails)
    follow(InBackground(recorder, "mine"))
    assert recorder.told == ALL
    warned = ["training.trackers: mine: the server is away; training goes on"] if fails else []
    assert [record.getMessage() for record in caplog.records] == warned


def test_a_server_that_stays_away_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(fails=10**6)
    follow(InBackground(recorder, "mine"))
    assert recorder.told == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_end_does_not_wait_for_a_tracker_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    class Hanging(Recorder):
        def _tell(self, what: Any) -> None:
            assert released.wait(60), what

    follow(InBackground(Hanging(), "mine", patience_s=0.2))
    assert [record.getMessage() for record in caplog.records] == [
        "training.trackers: mine: no answer for 0.2 s; training goes on"
    ]
    released.set()
