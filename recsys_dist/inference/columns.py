"""Ids or ratings from a caller, as a column in one of three forms.

In: one value, or any sequence: lists, tuples, ranges, generators, NumPy (masked too), pandas, polars, Arrow and
objects with its C interface. Out: an Arrow array, a NumPy array, or a list of the Python values; and ratings as
float32. The type of a value decides whether it is an id (ids.py) or a rating. A rating is a number, in any
container: text, booleans, dates and missing values are refused, though NumPy would convert them to numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from recsys_dist.errors import DataError

Values = ArrayLike | Iterable[Any]
"""Ids or ratings as a caller may pass them."""
Column: TypeAlias = pa.Array | NDArray[Any] | list[Any]

Floats = NDArray[np.float32]
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Wanted:
    """The name and the required kind of a column, and its errors."""

    name: str
    kind: str

    def refused(self, place: int, value: Any, hint: str = "") -> DataError:
        """The error for a value of another kind, or a missing one, at `place`."""
        if is_missing(value):
            found, hint = f"missing ({_shortened(value)})", "leave it out"
        else:
            found = f"{_shortened(value)}, of type {type(value).__name__}"
        return self.wrong(f"but {self.name}[{place}] is {found}", hint)

    def wrong(self, found: str, hint: str = "") -> DataError:
        """The error for a column that is not of the required kind."""
        return DataError(f"{self.name} must be {self.kind}, {found}" + (f"; {hint}" if hint else ""))

    def not_flat(self, found: str) -> DataError:
        """The error for nested values."""
        return DataError(f"{self.name} must be one-dimensional, not {found}")

    def unreadable(self, error: Exception) -> DataError:
        """The error for values that their library cannot read."""
        return DataError(f"{self.name} cannot be read: {' '.join(str(error).split())}")


def as_column(values: Values, wanted: Wanted) -> Column:
    """The values as a column; a single value becomes a column of one.

    Raises `DataError` for values that are unordered or not one-dimensional, and for missing values in an Arrow or
    a masked array. Missing values in a list are left to the caller.
    """
    given: Any = values
    if isinstance(given, pa.Array | pa.ChunkedArray):
        return _of_arrow(given, wanted)
    if isinstance(given, str | pa.Scalar) or is_bytes(given):
        return [given]
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and len(shape) > 1:
        raise wanted.not_flat(f"a {type(given).__name__} of shape {tuple(shape)}")
    if _is_array(given):
        return _of_numpy(given, wanted)
    if not hasattr(given, "__iter__") or shape == ():
        return [given]
    if isinstance(given, set | frozenset | Mapping):
        raise DataError(f"{wanted.name} must have an order, but a {type(given).__name__} has none; give a list")
    return list(given) if isinstance(given, list | tuple) else _of_other(given, wanted)


def _is_array(given: Any) -> bool:
    """Whether NumPy holds the values: the object has a NumPy dtype, or offers nothing but `__array__`."""
    is_opaque = hasattr(given, "__array__") and not hasattr(given, "__iter__")
    return is_opaque or isinstance(getattr(given, "dtype", None), np.dtype)


def is_bytes(value: Any) -> bool:
    """Whether the value is undecoded text."""
    return isinstance(value, bytes | bytearray) or (isinstance(value, memoryview) and value.itemsize == 1)


def is_missing(value: Any) -> bool:
    """Whether the value is missing: None, NaN, NaT, NA, a masked entry."""
    if value is None or value is np.ma.masked or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(value, pa.Scalar):
        return not value.is_valid
    if isinstance(value, float | np.inexact):
        return bool(np.isnan(value))
    return isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value))


def unwrapped(value: Any) -> Any:
    """The value in an Arrow scalar, or in an array or tensor without dimensions; other values unchanged."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, pa.Scalar):
        return _of_scalar(value)
    if isinstance(value, np.ndarray) and value is not np.ma.masked and value.ndim == 0:
        return value[()]
    is_tensor = not isinstance(value, np.generic | np.ndarray) and getattr(value, "shape", None) == ()
    return value.item() if is_tensor and callable(getattr(value, "item", None)) else value


def _of_scalar(value: pa.Scalar) -> Any:
    # The Python value of a time may be rounded, or a number.
    if pa.types.is_temporal(value.type):
        return value
    try:
        return value.as_py()
    except ValueError:
        return value


def _shortened(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except ValueError:
        text = "a value that cannot be printed"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _of_arrow(given: Any, wanted: Wanted) -> pa.Array:
    try:
        array = given.combine_chunks() if isinstance(given, pa.ChunkedArray) else given
        array.validate(full=True)
        array = _decoded(array)
    except (pa.ArrowException, NotImplementedError) as error:
        raise wanted.unreadable(error) from None
    if array.null_count:
        raise wanted.refused(pc.index(array.is_null(), True).as_py(), None)
    return array


def _decoded(array: Any) -> Any:
    """Unwrap extension types, dictionaries and run-end encoding."""
    if isinstance(array, pa.ExtensionArray):
        return _decoded(array.storage)
    if pa.types.is_dictionary(array.type):
        values = _decoded(array.dictionary)
        # String views support neither decoding nor take.
        values = values.cast(pa.large_string()) if pa.types.is_string_view(values.type) else values
        return values.take(array.indices)
    if pa.types.is_run_end_encoded(array.type):
        return _decoded(pc.run_end_decode(array))
    return array


def _of_numpy(given: Any, wanted: Wanted) -> Column:
    array = given if isinstance(given, np.ndarray) else _tried(lambda: np.asarray(given), wanted)
    if array.ndim > 1:
        raise wanted.not_flat(f"an array of shape {array.shape}")
    array = array.reshape(-1)
    if isinstance(array, np.ma.MaskedArray):
        masked = np.flatnonzero(np.ma.getmaskarray(array))
        if len(masked):
            raise wanted.refused(int(masked[0]), np.ma.masked)
        array = array.data
    return array.tolist() if array.dtype.kind in "OUT" else array


def _of_other(given: Any, wanted: Wanted) -> Column:
    """A column of another library, or any iterable."""
    if callable(getattr(given, "tolist", None)):
        values: list[Any] = _tried(given.tolist, wanted)
        return values
    array = _through_arrow(given)
    return list(given) if array is None else _of_arrow(array, wanted)


def _through_arrow(given: Any) -> Any:
    """The object read through Arrow's C interface; None if it has none, or a type that pyarrow lacks."""
    for method, read in (("__arrow_c_array__", pa.array), ("__arrow_c_stream__", pa.chunked_array)):
        if hasattr(given, method):
            try:
                return read(given)
            except (pa.ArrowException, NotImplementedError):
                return None
    return None


def _tried(read: Callable[[], Any], wanted: Wanted) -> Any:
    """Call another library, whose exceptions (for arrays on a GPU, say) can be of any type."""
    try:
        return read()
    except Exception as error:
        raise wanted.unreadable(error) from error


RATINGS = Wanted("ratings", "numbers")


def as_ratings(ratings: Values, low: float, high: float) -> Floats:
    """Ratings in the given order: [n]. Raises `DataError` for a value that is not a number in `low` .. `high`."""
    rating_N = _as_floats(as_column(ratings, RATINGS))
    wrong = ~((rating_N >= low) & (rating_N <= high))
    if wrong.any():
        raise DataError(f"rating {rating_N[wrong][0]:g} is outside the range of the data, {low:g} to {high:g}")
    return rating_N


def _as_floats(column: Column) -> Floats:
    if not len(column):
        return np.empty(0, np.float32)
    if isinstance(column, list):
        return _floats_of_numpy(np.array([_number(place, one) for place, one in enumerate(column)], np.float64))
    if isinstance(column, np.ndarray):
        return _floats_of_numpy(column)
    return _floats_of_numpy(_floats_of_arrow(column))


def _floats_of_arrow(array: pa.Array) -> NDArray[Any]:
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    # Text and lists, nested or not, become objects.
    if numbers.dtype == object:
        raise RATINGS.wrong(f"not Arrow's {array.type}")
    return numbers


def _floats_of_numpy(array: NDArray[Any]) -> Floats:
    if array.dtype.kind not in "iuf":
        raise RATINGS.wrong(f"not NumPy's {array.dtype}")
    missing = np.flatnonzero(np.isnan(array))
    if len(missing):
        raise RATINGS.refused(int(missing[0]), array[missing[0]])
    # Numbers too large for float32 become infinite, which is outside every range.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _number(place: int, one: Any) -> float:
    value = unwrapped(one)
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0:
        raise RATINGS.not_flat(f"with a {type(value).__name__} as ratings[{place}]")
    is_number = isinstance(value, Real | Decimal) and not isinstance(value, bool | np.timedelta64)
    if not is_number or is_missing(value):
        raise RATINGS.refused(place, value)
    try:
        return float(value)
    except (OverflowError, ValueError):
        raise RATINGS.refused(place, value) from None
