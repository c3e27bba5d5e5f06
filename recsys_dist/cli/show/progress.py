"""The progress display of commands that work in stages."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from recsys_dist.console import new_console

LOG_EVERY_S = 10.0


class StageProgress(Protocol):
    """Called with a stage, its tasks done, its tasks in all, and the rows done if known."""

    def __call__(self, stage: str, done: int, total: int, rows: int = 0, /) -> None:
        """Show the progress of a stage."""
        ...


@contextmanager
def show_stages() -> Iterator[StageProgress]:
    """Show one bar per stage on stderr while the body runs: tasks, rows per second, time taken and time left.

    If stderr is not a terminal, a line is printed now and then, and the bars at the end.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    display = Progress(*columns, console=new_console(stderr=True))
    stages: dict[str, Stage] = {}

    def progress(stage: str, done: int, total: int, rows: int = 0, /) -> None:
        # Started by the first stage, so that an error before it is the only line.
        if not stages:
            display.start()
        if stage not in stages:
            stages[stage] = Stage(stage, done, rows, display.add_task(stage, total=total, speed=""))
        shown = stages[stage]
        shown.update(done, total, rows)
        display.update(shown.bar, completed=done, total=total, speed=shown.speed)

    try:
        yield progress
    finally:
        if stages:
            display.stop()


class Stage:
    """The progress of one stage; work that was done before its start here does not count for its speed."""

    def __init__(self, name: str, done: int, rows: int, bar: TaskID) -> None:
        self.bar = bar
        self.speed = ""
        """Rows per second, as text; empty if rows are not reported."""
        self._name, self._first_done, self._first_rows = name, done, rows
        self._start = self._printed = time.monotonic()

    def update(self, done: int, total: int, rows: int) -> None:
        """Record progress; without a terminal print a line, at most one every `LOG_EVERY_S` seconds."""
        now = time.monotonic()
        taken = now - self._start
        if rows > self._first_rows and taken > 0:
            self.speed = f"{(rows - self._first_rows) / taken:,.0f} rows/s"
        if not sys.stderr.isatty() and now - self._printed >= LOG_EVERY_S and done > self._first_done:
            left = taken / (done - self._first_done) * (total - done)
            sys.stderr.write(f"{self._name}: {done} of {total} {self.speed} about {left:,.0f} s left\n")
            self._printed = now
