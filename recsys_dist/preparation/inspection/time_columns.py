"""Timestamp columns: recognizes names, guesses units by size, and explains why a column is not used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recsys_dist.preparation.inspection.column_facts import NUMBERS, ColumnFacts, Kind
from recsys_dist.preparation.parsing.rejects import shorten
from recsys_dist.preparation.settings.input import TimestampFormat

DATES: dict[Kind, TimestampFormat] = {"dates": "iso", "ctime dates": "ctime"}
"""The setting `timestamp_format` of each kind of dates."""
READABLE: tuple[Kind, ...] = ("whole numbers", "decimals", *DATES)
"""Kinds of columns that can hold timestamps."""
FIRST_SECOND, LAST_SECOND = 5e8, 2.2e9
"""The range of plausible timestamps, 1985 to 2039, in any unit."""
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
WORDS = {"timestamp", "timestamps", "ts", "time", "datetime", "date", "unix", "epoch", "created", "when", "at"}
"""Words in names of timestamp columns."""
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_time_name(name: str) -> bool:
    """Whether the name suggests timestamps."""
    words = {word.lower() for word in WORD.findall(name)}
    return bool(words & WORDS) or "timestamp" in name.lower()


def unit_of(number: float) -> str | None:
    """The unit in which a number, counted from 1970, is between 1985 and 2039; None if there is none."""
    return next(
        (unit for unit, ticks in UNITS.items() if ticks * FIRST_SECOND <= number <= ticks * LAST_SECOND), None
    )


def units_of(column: ColumnFacts) -> list[str]:
    """The units suggested by the smallest and the largest number of a column, finest last."""
    if column.kind not in NUMBERS:
        return []
    found = {unit_of(number) for number in column.span}
    return [unit for unit in UNITS if unit in found]


def describe_time(column: ColumnFacts) -> str:
    """The unit or time zone of a timestamp column, in a few words; empty if unknown."""
    if column.kind in DATES:
        return "UTC unless an offset is given"
    units = units_of(column)
    return f"{units[0]} since 1970, by their size" if len(units) == 1 else ""


def doubts_of_size(column: ColumnFacts) -> Iterator[str]:
    """Warn about timestamps in other units than seconds, or in several units."""
    units = units_of(column)
    if len(units) > 1:
        yield (
            f"the timestamps from {column.smallest} to {column.largest} seem to mix {' and '.join(units)} since "
            "1970; they are compared without conversion, so the order of ratings may be wrong"
        )
    elif units and units != ["seconds"]:
        yield (
            f"the timestamps are {units[0]} since 1970, by their size, and are kept in this unit; give "
            f"split.test_from and split.valid_from in {units[0]} too"
        )


def doubts_of_units(spans: Iterable[tuple[str, tuple[int, int]]]) -> Iterator[str]:
    """Warn if files seem to use different units; `spans` are (name, (smallest, largest))."""
    joined: dict[str, tuple[int, int]] = {}
    for name, (low, high) in spans:
        first, last = joined.get(name, (low, high))
        joined[name] = min(first, low), max(last, high)
    # One example file for each unit.
    found: dict[str, str] = {}
    for name, span in joined.items():
        for number in span:
            found.setdefault(unit_of(number) or "", name)
    shown = " and ".join(f"{unit} in {found[unit]}" for unit in UNITS if unit in found)
    if len(found.keys() - {""}) > 1:
        yield (
            f"by their size, timestamps are {shown}, all since 1970; they are compared without conversion, so the "
            "order of ratings may be wrong"
        )


def doubts_of_unused(columns: Sequence[ColumnFacts], roles: Mapping[str, int]) -> Iterator[str]:
    """Explain why columns with a timestamp name are not used; `roles` maps fields to positions."""
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
        return "it is empty, or of a type without a text form"
    values = f"its values, such as {shorten(column.examples[0])!r},"
    if column.kind not in READABLE:
        return f"{values} are neither all numbers nor all dates such as 2005-09-06 or 2005-09-06T23:59:59+02:00"
    if used is not None:
        return f"{used.reference!r} is"
    return f"{values} are outside the range of plausible times"
