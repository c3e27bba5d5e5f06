"""Converts Python dates and times of any type to one column of timestamps; without an offset they are UTC."""

from __future__ import annotations

import datetime
from calendar import timegm
from typing import Any

import numpy as np
import pyarrow as pa

Moment = datetime.date | np.datetime64
"""Dates and datetimes, including `pandas.Timestamp`, and NumPy's datetime64."""
MICRO, SECOND = 1000, 10**9
"""In nanoseconds."""


def moment_array(values: list[Any]) -> pa.Array:
    """Timestamps in microseconds if that is exact, else in nanoseconds; None is missing.

    Raises `OverflowError` or an Arrow error for times that do not fit into 64 bits.
    """
    nanos = [None if value is None else _nanos(value) for value in values]
    if any(one is not None and one % MICRO for one in nanos):
        return pa.array(nanos, pa.int64()).cast(pa.timestamp("ns"))
    return pa.array([None if one is None else one // MICRO for one in nanos], pa.int64()).cast(pa.timestamp("us"))


def _nanos(moment: Moment) -> int:
    """Nanoseconds since 1970."""
    if isinstance(moment, np.datetime64):
        whole = moment.astype("datetime64[s]")
        rest = (moment - whole).astype("timedelta64[ns]")
        return int(whole.astype(np.int64)) * SECOND + int(rest.astype(np.int64))
    if not isinstance(moment, datetime.datetime):
        return timegm(moment.timetuple()) * SECOND
    below = moment.microsecond * MICRO + getattr(moment, "nanosecond", 0)
    return timegm(moment.utctimetuple()) * SECOND + below
