"""Columns of timestamps: recognised by name, their unit guessed by size, and the reason where one is not used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recsys_dist.preparation.inspection.column_facts import NUMBERS, ColumnFacts, Kind
from recsys_dist.preparation.parsing.rejects import shorten

READABLE: tuple[Kind, ...] = ("whole numbers", "decimals", "dates")
"""Kinds of columns that timestamps are read from."""
FIRST_SECOND, LAST_SECOND = 5e8, 2.2e9
"""Timestamps of ratings: from 1985 to 2039, in any of the units."""
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
WORDS = {"timestamp", "timestamps", "ts", "time", "datetime", "date", "unix", "epoch", "created", "when", "at"}
"""Words that mark the name of a timestamp column."""
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_time_name(name: str) -> bool:
    """Whether a column of this name should hold timestamps."""
    words = {word.lower() for word in WORD.findall(name)}
    return bool(words & WORDS) or "timestamp" in name.lower()


def unit_of(number: float) -> str | None:
    """The unit in which a number since 1970 lies between 1985 and 2039; None if there is none."""
    return next(
        (unit for unit, ticks in UNITS.items() if ticks * FIRST_SECOND <= number <= ticks * LAST_SECOND), None
    )


def units_of(column: ColumnFacts) -> list[str]:
    """The units that the smallest and the largest number of a column suggest, the finest last."""
    if column.kind not in NUMBERS:
        return []
    found = {unit_of(number) for number in column.span}
    return [unit for unit in UNITS if unit in found]


def describe_time(column: ColumnFacts) -> str:
    """The unit or the zone of a timestamp column, in a few words; empty where unknown."""
    if column.kind == "dates":
        return "UTC where no offset is told"
    units = units_of(column)
    return f"{units[0]} since 1970, by their size" if len(units) == 1 else ""


def doubts_of_size(column: ColumnFacts) -> Iterator[str]:
    """Warnings about timestamps that count something else than seconds, or several units."""
    units = units_of(column)
    if len(units) > 1:
        yield (
            f"the timestamps from {column.smallest} to {column.largest} seem to be {' and '.join(units)} since "
            "1970 mixed; they are compared as they stand, so that the order of ratings may be wrong"
        )
    elif units and units != ["seconds"]:
        yield (
            f"the timestamps are {units[0]} since 1970, by their size, and are kept as such: split.test_from and "
            f"split.valid_from count {units[0]} too"
        )


def doubts_of_units(spans: Iterable[tuple[str, tuple[int, int]]]) -> Iterator[str]:
    """A warning where files count different units; `spans` are (name, (smallest, largest))."""
    joined: dict[str, tuple[int, int]] = {}
    for name, (low, high) in spans:
        first, last = joined.get(name, (low, high))
        joined[name] = min(first, low), max(last, high)
    # One file that tells each unit.
    found: dict[str, str] = {}
    for name, span in joined.items():
        for number in span:
            found.setdefault(unit_of(number) or "", name)
    told = " and ".join(f"{unit} in {found[unit]}" for unit in UNITS if unit in found)
    if len(found.keys() - {""}) > 1:
        yield (
            f"by their size timestamps are {told}, all since 1970; they are compared as they stand, so that the "
            "order of ratings may be wrong"
        )


def doubts_of_unused(columns: Sequence[ColumnFacts], roles: Mapping[str, int]) -> Iterator[str]:
    """The reason why each unused column is not the timestamp that its name promises; `roles` are positions."""
    names = [column.name for column in columns]
    used = next((column for column in columns if column.position == roles.get("timestamp")), None)
    for column in columns:
        if column.name is not None and is_time_name(column.name) and column.position not in roles.values():
            reason = _reason(column, used, names.count(column.name) > 1)
            yield f"the column {column.name!r} is not used as timestamp: {reason}"


def _reason(column: ColumnFacts, used: ColumnFacts | None, is_twice: bool) -> str:
    if is_twice:
        return "more than one column has this name"
    if column.kind == "empty":
        return "it is empty, or of a type that is no text"
    values = f"its values, such as {shorten(column.examples[0])!r},"
    if column.kind not in READABLE:
        return f"{values} are neither all numbers nor all dates such as 2005-09-06 or 2005-09-06T23:59:59+02:00"
    if used is not None:
        return f"{used.reference!r} is"
    return f"{values} are no moments of our time"
