"""When a run saves, and that what it saves is the state of that epoch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from recsys_dist.checkpoint.snapshot import Snapshot, num_bytes
from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.training.saving import Saving
from tests.support.states import single_collectives


class Clock:
    """Seconds that pass by request alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Opened:
    """A checkpoint that notes what it is to write; writing takes a second."""

    store: Store
    step: float
    snapshot: Snapshot

    def write(self, is_given_up=lambda: False) -> dict[str, Any]:
        assert not is_given_up()
        (piece,) = self.snapshot.pieces
        self.store.saved.append((self.step, float(piece.tensors["x"][0])))
        self.store.clock.now += 1
        return {}


class Store:
    """Stands in for the checkpoints of a run."""

    def __init__(self, clock: Clock) -> None:
        self.saved: list[tuple[float, float]] = []
        self.committed: list[float] = []
        self.clock = clock

    def begin(self, take, step, details, whole_epoch=True) -> Opened:
        assert details == {"step": step}
        return Opened(self, step if whole_epoch else step + 0.5, take())

    def finish(self, opened: Opened, written) -> None:
        written()
        self.committed.append(opened.step)

    def save(self, state, step, details, whole_epoch=True) -> None:
        opened = self.begin(lambda: Snapshot.of(state), step, details, whole_epoch)
        self.finish(opened, opened.write)


class Writer:
    """Writes when it is told to, instead of beside the main thread; by default within the next epoch."""

    def __init__(self, *_: object) -> None:
        self._waiting: list[tuple[Future, Callable]] = []
        self.is_slow = False

    def submit(self, work) -> Future:
        self._waiting.append((Future(), work))
        return self._waiting[-1][0]

    def catch_up(self) -> None:
        for future, work in self._waiting:
            future.set_result(work())
        self._waiting.clear()

    def shutdown(self) -> None:
        self.catch_up()


class Run:
    """Epochs of some seconds; all of them change the same tensor in place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, every: int | str) -> None:
        self._clock, self.writer = Clock(), Writer()
        monkeypatch.setattr("recsys_dist.training.saving.time.monotonic", self._clock)
        monkeypatch.setattr("recsys_dist.training.saving.ThreadPoolExecutor", lambda *_: self.writer)
        self.store = Store(self._clock)
        self.saving = Saving(self.store, every, single_collectives())  # type: ignore[arg-type]
        self._x, self._step = torch.zeros(1), 0

    def state(self) -> TrainerState:
        return TrainerState({"rows": TableRows(0, 1, {"x": self._x})}, {})

    def epoch(self, seconds: float, *, is_best: bool = False, is_last: bool = False) -> None:
        self._step += 1
        self._x.fill_(self._step)
        self._clock.now += seconds
        details = {"step": self._step}
        if not self.writer.is_slow:
            self.writer.catch_up()
        self.saving.commit_written()
        self.saving.after_epoch(self.state, self._step, details, is_best=is_best, is_last=is_last)

    def stop(self) -> None:
        self.writer.catch_up()
        self._x.fill_(-1)
        self.saving.within_epoch(self.state(), self._step, {"step": self._step})


@pytest.fixture
def auto(monkeypatch) -> Run:
    return Run(monkeypatch, "auto")


def test_saving_takes_a_tenth_of_the_time(auto: Run):
    for _ in range(100):
        auto.epoch(3)
    auto.writer.catch_up()
    assert auto.store.saved == [(step, step) for step in range(1, 101, 3)]


def test_long_epochs_are_all_saved(auto: Run):
    for _ in range(3):
        auto.epoch(60)
    auto.writer.catch_up()
    assert auto.store.saved == [(1, 1), (2, 2), (3, 3)]


def test_the_best_state_is_saved_as_it_was(auto: Run):
    auto.epoch(1)
    auto.epoch(1, is_best=True)
    auto.epoch(1, is_best=True)
    auto.epoch(1)
    assert auto.store.saved == [(1, 1)]
    auto.epoch(1, is_last=True)
    assert auto.store.saved == [(1, 1), (3, 3), (5, 5)]


def test_a_best_state_that_is_too_large_to_copy_is_saved_at_once(auto: Run, monkeypatch):
    monkeypatch.setattr("recsys_dist.training.saving.MOST_COPY", 3)
    auto.epoch(1)
    auto.epoch(1, is_best=True)
    auto.epoch(1)
    assert auto.store.saved == [(1, 1), (2, 2)]


def test_the_size_of_a_state_does_not_depend_on_the_rows_of_a_rank():
    sizes = {
        num_bytes(TrainerState({"rows": TableRows(0, 9, {"x": torch.zeros(own, 3)})}, {})) for own in (0, 4, 9)
    }
    assert sizes == {9 * 3 * 4}


def test_what_is_written_slowly_is_the_state_of_its_epoch_and_counts_once_it_is_complete(monkeypatch):
    run = Run(monkeypatch, 3)
    run.writer.is_slow = True
    for _ in range(5):
        run.epoch(1)
    assert (run.store.saved, run.store.committed) == ([], [])
    run.writer.catch_up()
    run.saving.commit_written()
    assert (run.store.saved, run.store.committed) == ([(3, 3)], [3])


def test_by_auto_nothing_is_due_while_a_checkpoint_is_written(auto: Run):
    auto.writer.is_slow = True
    for _ in range(5):
        auto.epoch(100)
    auto.writer.catch_up()
    auto.epoch(100)
    auto.writer.catch_up()
    auto.epoch(1, is_last=True)
    assert auto.store.saved == [(1, 1), (6, 6), (7, 7)]


def test_a_due_state_that_is_the_best_replaces_an_older_one(auto: Run):
    auto.epoch(1)
    auto.epoch(1, is_best=True)
    auto.epoch(20, is_best=True)
    auto.epoch(1, is_last=True)
    assert auto.store.saved == [(1, 1), (3, 3), (4, 4)]


def test_a_stop_within_an_epoch_saves_the_best_first(auto: Run):
    auto.epoch(1)
    auto.epoch(1, is_best=True)
    auto.stop()
    assert auto.store.saved == [(1, 1), (2, 2), (2.5, -1)]


def test_by_number_of_epochs_the_best_is_saved_at_once(monkeypatch):
    run = Run(monkeypatch, 3)
    for is_best in (False, True, False, False):
        run.epoch(100, is_best=is_best)
    run.epoch(1, is_last=True)
    assert [step for step, _ in run.store.saved] == [2, 3, 5]
