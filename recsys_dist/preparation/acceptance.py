"""Checks, once all input is parsed, that enough rows are valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from recsys_dist.errors import DataError
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.runs import RunInfo
from recsys_dist.preparation.shards.user_rows import Run


def require_rows(infos: Sequence[RunInfo], runs: Sequence[Run], config: PrepareConfig) -> None:
    """Raise `DataError` if no row is valid, or more than the fraction `ratings.max_rejected` is rejected.

    The error counts the rejected rows by reason and quotes the first.
    """
    noun, max_rejected = "rating" if config.has_ratings else "interaction", config.ratings.max_rejected
    num_read = sum(info.num_read for info in infos)
    rejected = sum((info.rejected for info in infos), Counter[str]())
    if num_read == 0:
        raise DataError(f"{runs[0].file if runs else 'the input'} has no rows")
    if rejected.total() == num_read:
        raise DataError(f"none of {num_read:,} rows is a valid {noun}; {_describe(rejected, infos, runs)}")
    if rejected.total() > max_rejected * num_read:
        raise DataError(
            f"{rejected.total():,} of {num_read:,} rows are not valid {noun}s, more than ratings.max_rejected "
            f"{max_rejected:g} allows; {_describe(rejected, infos, runs)}"
        )


def _describe(rejected: Counter[str], infos: Sequence[RunInfo], runs: Sequence[Run]) -> str:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rejected.items(), key=_most_first))
    run, first = next((run, info.first_reject) for info, run in zip(infos, runs, strict=True) if info.first_reject)
    line, reason, text = first
    return f"{counts}; first: {run.file} line {run.first_line - 1 + line}: {reason}: {text!r}"


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    reason, count = counted
    return -count, reason
