"""Dates and times as Python objects of any types, as one column of instants; without an offset they are UTC."""

from __future__ import annotations

import datetime
from calendar import timegm
from typing import Any

import numpy as np
import pyarrow as pa

Moment = datetime.date | np.datetime64
"""Dates, dates with times, and the subclass of these that pandas has."""
MICRO, SECOND = 1000, 10**9
"""In billionths of a second."""


def moment_array(values: list[Any]) -> pa.Array:
    """The instants of moments, in microseconds where that is exact; None is missing.

    Raises `OverflowError` or one of Arrow's errors for what no 64 bits hold.
    """
    nanos = [None if value is None else _nanos(value) for value in values]
    if any(one is not None and one % MICRO for one in nanos):
        return pa.array(nanos, pa.int64()).cast(pa.timestamp("ns"))
    return pa.array([None if one is None else one // MICRO for one in nanos], pa.int64()).cast(pa.timestamp("us"))


def _nanos(moment: Moment) -> int:
    """Billionths of a second since 1970."""
    if isinstance(moment, np.datetime64):
        whole = moment.astype("datetime64[s]")
        rest = (moment - whole).astype("timedelta64[ns]")
        return int(whole.astype(np.int64)) * SECOND + int(rest.astype(np.int64))
    if not isinstance(moment, datetime.datetime):
        return timegm(moment.timetuple()) * SECOND
    below = moment.microsecond * MICRO + getattr(moment, "nanosecond", 0)
    return timegm(moment.utctimetuple()) * SECOND + below
