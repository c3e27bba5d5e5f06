"""Converts columns of any table to the Parquet columns that a preparation reads, by the same rules as for files.

In: some rows of a column, as Arrow or as Python objects. Out: Arrow arrays of plain types: text, numbers,
timestamps. A missing value stays missing, and the preparation rejects its row. A column or value of an unsuitable
type is an error that names its position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_dist.errors import DataError
from recsys_dist.from_python.moments import Moment, moment_array
from recsys_dist.inference.columns import Wanted, is_bytes, is_missing, unwrapped
from recsys_dist.inference.ids import OF_BYTES, OF_FRACTIONS, id_array
from recsys_dist.preparation.parsing.parquet_types import is_number, is_text, is_whole
from recsys_dist.preparation.parsing.timestamps import tells_moments

Field = Literal["user", "item", "rating", "timestamp", "title"]
Values: TypeAlias = pa.Array | pa.ChunkedArray | list[Any]
"""Some rows of a column; a list holds Python objects of any type."""
KINDS: dict[Field, str] = {
    "user": "text or whole numbers",
    "item": "text or whole numbers",
    "rating": "numbers",
    "timestamp": "numbers, dates and times",
    "title": "text",
}
BINARY = (
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
    pa.types.is_fixed_size_binary,
)


@dataclass(frozen=True)
class Column:
    """A column of a table: its field, label and type."""

    field: Field
    label: str
    """The name in error messages: `table['member']`."""
    kind: str | None = None
    """The library's name of the column type; None if the library is Arrow."""

    @property
    def wanted(self) -> Wanted:
        """The values that the field accepts, for error messages."""
        return Wanted(self.label, KINDS[self.field])

    def array(self, values: Values, first_row: int) -> pa.Array:
        """Convert rows, the first of which is row `first_row` from 0. Raises `DataError` for unsuitable values."""
        if not isinstance(values, list):
            return self._of_arrow(values)
        try:
            return _OF_OBJECTS[self.field](values, self.wanted)
        except DataError:
            # Convert again behind `first_row` missing values, so that the error names the right row.
            _OF_OBJECTS[self.field]([None] * first_row + values, self.wanted)
            raise

    def _of_arrow(self, values: pa.Array | pa.ChunkedArray) -> pa.Array:
        try:
            array = _plain(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)
        except (pa.ArrowException, NotImplementedError) as error:
            raise self.wanted.unreadable(error) from error
        if not _FITS[self.field](array.type):
            raise self.wanted.wrong(f"not {self.kind or f'the {array.type} of Arrow'}", self._hint(array.type))
        return array

    def _hint(self, kind: pa.DataType) -> str:
        if any(test(kind) for test in BINARY):
            return OF_BYTES
        is_fraction = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        return OF_FRACTIONS if is_fraction and self.field in {"user", "item"} else ""


def _is_id(kind: pa.DataType) -> bool:
    return is_text(kind) or is_whole(kind)


def _is_rating(kind: pa.DataType) -> bool:
    return is_text(kind) or is_number(kind)


_FITS: dict[Field, Callable[[pa.DataType], bool]] = {
    "user": _is_id,
    "item": _is_id,
    "rating": _is_rating,
    "timestamp": tells_moments,
    "title": is_text,
}


def _plain(array: Any) -> pa.Array:
    """Decode dictionaries and runs, and cast to a type that Parquet supports."""
    if pa.types.is_dictionary(array.type):
        # Arrow can neither decode nor index dictionaries of string views.
        return _plain(array.dictionary).take(array.indices)
    if pa.types.is_run_end_encoded(array.type):
        return _plain(pc.run_end_decode(array))
    kind = array.type
    if is_text(kind) or pa.types.is_null(kind):
        return array.cast(pa.large_string())
    if kind == pa.float16():
        return array.cast(pa.float32())
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return array.cast(pa.decimal128(kind.precision, kind.scale))
    return array


def _ids(values: list[Any], wanted: Wanted) -> pa.Array:
    # An empty id and a missing one are rejected for the same reason.
    return id_array(["" if is_missing(value) else value for value in values], wanted.name)


def _numbers(values: list[Any], wanted: Wanted) -> pa.Array:
    """Numbers as text, as in a file: one type for all kinds of numbers."""
    return _texts([_number_text(place, one, wanted) for place, one in enumerate(values)], wanted)


def _number_text(place: int, one: Any, wanted: Wanted) -> str | None:
    value = unwrapped(one)
    if is_missing(value):
        return None
    if isinstance(value, str):
        return str.__str__(value)
    is_real = isinstance(value, Integral | float | Decimal | np.floating)
    if not is_real or isinstance(value, bool | np.timedelta64):
        raise wanted.refused(place, one, OF_BYTES if is_bytes(value) else "")
    try:
        return str(value)
    except ValueError:
        # Python does not convert integers of more than 4300 digits to text.
        raise wanted.refused(place, one) from None


def _moments(values: list[Any], wanted: Wanted) -> pa.Array:
    """Dates and times as Arrow timestamps; numbers and text like ratings."""
    moments = [None if is_missing(value) else value for value in map(unwrapped, values)]
    others = [place for place, value in enumerate(moments) if not isinstance(value, Moment | None)]
    if len(others) == len(moments) - moments.count(None):
        return _numbers(values, wanted)
    if others:
        raise wanted.refused(others[0], values[others[0]], "other values of the column are dates or times")
    try:
        return moment_array(moments)
    except (pa.ArrowException, OverflowError) as error:
        raise wanted.unreadable(error) from error


def _titles(values: list[Any], wanted: Wanted) -> pa.Array:
    for place, value in enumerate(values):
        if not (isinstance(value, str) or is_missing(value)):
            raise wanted.refused(place, value, OF_BYTES if is_bytes(value) else "")
    return _texts([None if is_missing(value) else str.__str__(value) for value in values], wanted)


def _texts(texts: list[str | None], wanted: Wanted) -> pa.Array:
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError as error:
        raise wanted.unreadable(error) from None


_OF_OBJECTS: dict[Field, Callable[[list[Any], Wanted], pa.Array]] = {
    "user": _ids,
    "item": _ids,
    "rating": _numbers,
    "timestamp": _moments,
    "title": _titles,
}
