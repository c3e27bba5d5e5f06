"""The ratings of a folded-in user, as float32.

A rating is a number, in any container. Text, booleans, dates and missing values are refused, though NumPy would
convert them to numbers.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.inference.columns import Column, Values, Wanted, as_column, is_missing, unwrapped

Floats = NDArray[np.float32]
WANTED = Wanted("ratings", "numbers")


def as_ratings(ratings: Values, low: float, high: float) -> Floats:
    """Ratings in the given order: [n]. Raises `DataError` for a value that is not a number in `low` .. `high`."""
    rating_N = _as_floats(as_column(ratings, WANTED))
    wrong = ~((rating_N >= low) & (rating_N <= high))
    if wrong.any():
        raise DataError(f"rating {rating_N[wrong][0]:g} is outside the range of the data, {low:g} to {high:g}")
    return rating_N


def _as_floats(column: Column) -> Floats:
    if not len(column):
        return np.empty(0, np.float32)
    if isinstance(column, list):
        return _of_numpy(np.array([_number(place, one) for place, one in enumerate(column)], np.float64))
    if isinstance(column, np.ndarray):
        return _of_numpy(column)
    return _of_numpy(_of_arrow(column))


def _of_arrow(array: pa.Array) -> NDArray[Any]:
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    # Text and lists, nested or not, become objects.
    if numbers.dtype == object:
        raise WANTED.wrong(f"not Arrow's {array.type}")
    return numbers


def _of_numpy(array: NDArray[Any]) -> Floats:
    if array.dtype.kind not in "iuf":
        raise WANTED.wrong(f"not NumPy's {array.dtype}")
    missing = np.flatnonzero(np.isnan(array))
    if len(missing):
        raise WANTED.refused(int(missing[0]), array[missing[0]])
    # Numbers too large for float32 become infinite, which is outside every range.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _number(place: int, one: Any) -> float:
    value = unwrapped(one)
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0:
        raise WANTED.not_flat(f"with a {type(value).__name__} as ratings[{place}]")
    is_number = isinstance(value, Real | Decimal) and not isinstance(value, bool | np.timedelta64)
    if not is_number or is_missing(value):
        raise WANTED.refused(place, value)
    try:
        return float(value)
    except (OverflowError, ValueError):
        raise WANTED.refused(place, value) from None
