"""Batches concurrent requests: one thread takes all jobs that wait, up to a bound, and answers them together.

While a batch is answered, the next one gathers. A single request waits for nobody; under load one call of the
model serves many requests.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recsys_dist.serving.errors import BusyError
from recsys_dist.serving.jobs import Job, Outcome

MOST_WAITING = 1024
"""Jobs that may wait; further ones are refused at once."""
MOST_AT_ONCE = 32
"""Cost of a batch at which no further job joins it, so that no request waits for a long one."""


@dataclass(frozen=True)
class _Waiting:
    job: Job
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[bytes]


class Batcher:
    """A thread that answers jobs by `answer_all`, which returns one outcome for each."""

    def __init__(
        self, answer_all: Callable[[Sequence[Job]], Sequence[Outcome]], on_batch: Callable[[int], None]
    ) -> None:
        self._answer_all, self._on_batch = answer_all, on_batch
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    @property
    def num_waiting(self) -> int:
        """Jobs that wait for a batch."""
        return self._queue.qsize()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    async def answer(self, job: Job) -> bytes:
        """The answer of a job. Raises its error, or `BusyError` if too many jobs wait."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(job, loop, loop.create_future())
        try:
            self._queue.put_nowait(waiting)
        except queue.Full:
            raise BusyError(f"{MOST_WAITING:,} requests wait already; try again later") from None
        return await waiting.outcome

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, is_last = self._gather(first)
            self._on_batch(len(batch))
            outcomes = self._answer_all([one.job for one in batch])
            # All requests of a process have one loop.
            first.loop.call_soon_threadsafe(_hand_over, batch, outcomes)
            if is_last:
                return

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """The batch that begins with `first`, and whether the thread is to end after it."""
        batch, cost = [first], first.job.cost
        while cost < MOST_AT_ONCE:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, True
            batch.append(following)
            cost += following.job.cost
        return batch, False


def _hand_over(batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    for one, outcome in zip(batch, outcomes, strict=True):
        if one.outcome.done():  # the client is gone
            continue
        if isinstance(outcome, Exception):
            one.outcome.set_exception(outcome)
        else:
            one.outcome.set_result(outcome)
