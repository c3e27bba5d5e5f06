"""Classifies the types of Parquet columns, and decodes their values to plain text or numbers.

Whole numbers and text may have any of Arrow's types for them; decimals of scale 0 are whole numbers.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def is_text(kind: Any) -> bool:
    """Whether a type is text."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def is_whole(kind: Any) -> bool:
    """Whether a type holds only whole numbers."""
    return bool(pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0))


def is_number(kind: Any) -> bool:
    """Whether a type is numeric."""
    return is_whole(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def value_type(kind: Any) -> Any:
    """The type of the values, dictionary-encoded or not."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def decoded(array: pa.Array) -> pa.Array:
    """Decode dictionaries, and convert decimals and views to strings, so that Arrow can encode and compare."""
    array = values_of(array)
    return pc.cast(array, pa.string()) if pa.types.is_decimal(array.type) else array


def values_of(array: pa.Array) -> pa.Array:
    """Decode dictionaries, and convert views to strings, so that Arrow can take rows."""
    if pa.types.is_dictionary(array.type):
        return pa.DictionaryArray.from_arrays(array.indices, decoded(array.dictionary)).dictionary_decode()
    return pc.cast(array, pa.string()) if pa.types.is_string_view(array.type) else array
