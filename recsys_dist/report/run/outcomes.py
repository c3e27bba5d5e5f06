"""The plan of a run beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from recsys_dist.report.run.run_record import RunRecord

Row = tuple[str, float | None, float | None]
"""Name, planned and measured."""


def outcomes_of(record: RunRecord) -> list[Row]:
    """Memory, seconds and traffic; no rows without a plan or without an epoch."""
    plan, epochs = record.plan, record.epochs
    if plan is None or not epochs:
        return []
    # The first epoch reads the data and sets up what the others reuse; epochs of a search differ.
    plain = [epoch for epoch in epochs[1:] if not epoch.searching] or epochs
    seconds = "seconds of the training" if plan.is_whole else "seconds of an epoch"
    return [
        ("memory of the largest rank, MB", plan.largest / 1e6, _largest(epoch.peak_memory_mb for epoch in epochs)),
        (seconds, plan.epoch_seconds, _median(epoch.seconds for epoch in plain)),
        (
            "received by rank 0 in an epoch, MB",
            plan.ranks[0].received_bytes / 1e6,
            _median(epoch.received_mb for epoch in plain),
        ),
    ]


def _largest(figures: Iterable[float | None]) -> float | None:
    return max((figure for figure in figures if figure is not None), default=None)


def _median(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None
