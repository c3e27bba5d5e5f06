"""When a run saves checkpoints, and how: while the next epochs run, if the state is small enough to copy.

    due --copy--> a thread writes the files ... all ranks have written --commit--> a checkpoint

The thread calls no collectives. The main threads commit together, at the next step at which they ask whether to
stop, or after the next epoch; until then the checkpoint does not exist for a later run. The last state of a run is
written and committed at once, and so is one that is too large to copy.

With `every: auto` a checkpoint is due once training has taken `LEAST_RATIO` times as long as the last save. A best
state that is not due is copied, and saved with the next one that is; if it is too large to copy, it is saved at
once. So the best state of a run that ends does not depend on time: a run that is killed in between does the same
epochs again. A failure that all ranks share saves the copy first; otherwise it is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pydantic import JsonValue

from recsys_dist.checkpoint.snapshot import Snapshot, num_bytes
from recsys_dist.checkpoint.state import TrainerState
from recsys_dist.checkpoint.store import CheckpointStore, OpenCheckpoint
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import SharedError

LEAST_RATIO = 10.0
"""Saving may take a tenth of the time of training."""
MOST_COPY = 256 << 20
"""Bytes of a copy on one rank, on average; at most two copies are held at a time."""

Details = Mapping[str, JsonValue]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Save:
    """The state after `step` epochs."""

    snapshot: Snapshot
    step: int
    details: Details


class _Writing:
    """A checkpoint whose files a thread writes."""

    def __init__(self, opened: OpenCheckpoint, writer: ThreadPoolExecutor) -> None:
        self.opened = opened
        self.seconds = 0.0
        """That writing has taken."""
        self._is_given_up = threading.Event()
        self.future: Future[dict[str, Any]] = writer.submit(self._write)

    def _write(self) -> dict[str, Any]:
        started = time.monotonic()
        try:
            return self.opened.write(self._is_given_up.is_set)
        finally:
            self.seconds = time.monotonic() - started

    def give_up(self) -> None:
        """Let the thread end after the current file."""
        self._is_given_up.set()


class Saving:
    """The saves of one run on one rank, and the thread that writes them until the end of the block.

    Every method is collective, with the same arguments on all ranks. If the block fails on all ranks at the same
    point, what is not yet saved is saved if possible. Otherwise incomplete checkpoints stay, and the next start
    removes them. `may_write` raises if the run folder does not belong to this run any more.
    """

    def __init__(
        self,
        store: CheckpointStore,
        every: int | str,
        collectives: Collectives,
        may_write: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._every, self._collectives, self._may_write = store, every, collectives, may_write
        self._writer = ThreadPoolExecutor(1, "checkpoint writer")
        self._writing: list[_Writing] = []
        self._best: _Save | None = None
        self._saved_at = time.monotonic()
        self._cost: float | None = None
        """Seconds of the last saves of one time, in either thread; None before them."""

    def __enter__(self) -> Saving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._is_shared(error):
                self._rescue()
        finally:
            for writing in self._writing:
                writing.give_up()
            self._writer.shutdown()

    def after_epoch(
        self, state: Callable[[], TrainerState], step: int, details: Details, *, is_best: bool, is_last: bool
    ) -> None:
        """Save the state if it is due. `is_best`: keep it at any rate; `is_last`: the run ends or stops here."""
        is_due = is_last or self._is_due(step)
        if not (is_due or is_best):
            return
        here = state()
        is_too_large = num_bytes(here) > MOST_COPY * self._collectives.world.size
        if is_best:
            self._best = None
        if is_due or self._every != "auto" or is_too_large:
            self._save(here, step, details, at_once=is_last or is_too_large)
        else:
            if len(self._writing) > 1:
                # So that no third copy is held.
                self._finish()
            copy = self._collectives.together("copying the best state", lambda: Snapshot.of(here).copied())
            self._best = _Save(copy, step, details)

    def within_epoch(self, state: TrainerState, step: int, details: Details) -> None:
        """Save the state of a run that stops within the epoch after `step`."""
        self._finish()
        self._save_best()
        self._store.save(state, step, details, whole_epoch=False)

    def commit_written(self) -> None:
        """Commit the checkpoints that the thread is writing if their files are complete on all ranks."""
        is_writing = not all(writing.future.done() for writing in self._writing)
        if self._writing and not self._collectives.any_rank(is_writing):
            self._finish()

    def is_regular(self, step: int) -> bool:
        """Whether the state after `step` epochs is saved whatever happens; never with `auto`."""
        return isinstance(self._every, int) and step % self._every == 0

    def _is_due(self, step: int) -> bool:
        if isinstance(self._every, int):
            return self.is_regular(step)
        if self._writing:
            return False
        is_due = self._cost is None or time.monotonic() - self._saved_at >= LEAST_RATIO * self._cost
        # The clocks of ranks differ.
        decided: bool = self._collectives.gather_json(is_due)[0]
        return decided

    def _save(self, state: TrainerState, step: int, details: Details, *, at_once: bool) -> None:
        """Save the best state that was copied, if any, and then this one."""
        self._finish()
        started, self._cost = time.monotonic(), 0.0
        if at_once:
            self._save_best()
            self._store.save(state, step, details)
        else:
            best, self._best = self._best, None
            if best is not None:
                self._begin(lambda: best.snapshot, best.step, best.details)
            self._begin(lambda: Snapshot.of(state).copied(), step, details)
        self._saved_at = time.monotonic()
        self._cost += self._saved_at - started

    def _begin(self, take: Callable[[], Snapshot], step: int, details: Details) -> None:
        self._writing.append(_Writing(self._store.begin(take, step, details), self._writer))

    def _finish(self) -> None:
        """Wait for the thread, and commit what it has written."""
        while self._writing:
            wait([self._writing[0].future])
            writing, started = self._writing.pop(0), time.monotonic()
            self._store.finish(writing.opened, writing.future.result)
            self._cost = (self._cost or 0.0) + writing.seconds + time.monotonic() - started

    def _save_best(self) -> None:
        best, self._best = self._best, None
        if best is not None:
            opened = self._store.begin(lambda: best.snapshot, best.step, best.details)
            self._store.finish(opened, opened.write)

    def _is_shared(self, error: BaseException | None) -> bool:
        """Whether all ranks come here with this error."""
        is_single = self._collectives.world.size == 1
        return isinstance(error, SharedError) or (is_single and isinstance(error, Exception))

    def _rescue(self) -> None:
        if self._best is None and not self._writing:
            return
        try:
            self._collectives.together("saving after a failure", self._may_write)
            self._finish()
            self._save_best()
        except Exception as error:  # must not hide the failure of the run
            if self._collectives.world.is_first:
                logger.warning("what the run had not saved is lost: %s", error)
