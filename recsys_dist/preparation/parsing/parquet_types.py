"""Which types of Parquet columns can be a field of a rating, and their values as plain text or numbers.

Ids are whole numbers or text in any of Arrow's types for them; decimals without fractions are whole numbers.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def is_text(kind: Any) -> bool:
    """Whether a type holds text."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def is_whole(kind: Any) -> bool:
    """Whether a type holds whole numbers alone."""
    return bool(pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0))


def is_number(kind: Any) -> bool:
    """Whether a type holds numbers."""
    return is_whole(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def value_type(kind: Any) -> Any:
    """The type of the values, whether or not they are dictionary-encoded."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def decoded(array: pa.Array) -> pa.Array:
    """The values one by one, of types that Arrow can encode and compare: decimals and views become strings."""
    array = values_of(array)
    return pc.cast(array, pa.string()) if pa.types.is_decimal(array.type) else array


def values_of(array: pa.Array) -> pa.Array:
    """The values one by one, of types that Arrow can take rows from: views become strings."""
    if pa.types.is_dictionary(array.type):
        return pa.DictionaryArray.from_arrays(array.indices, decoded(array.dictionary)).dictionary_decode()
    return pc.cast(array, pa.string()) if pa.types.is_string_view(array.type) else array
