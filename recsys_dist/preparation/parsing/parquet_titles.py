"""Reads item ids and titles from Parquet, with the same checks as for ratings.

A row is rejected if no line of a text file could hold its id and title. Titles may have any type that Arrow can
cast to text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.parsing.parquet import column_name, id_column, open_parquet
from recsys_dist.preparation.parsing.parquet_types import decoded
from recsys_dist.preparation.parsing.text_checks import refusals
from recsys_dist.preparation.settings.input import Column

BINARY = (
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
    pa.types.is_fixed_size_binary,
)


def read_title_rows(file: InputFile, columns: Mapping[str, Column], key: str) -> tuple[pa.Table, NDArray[np.int8]]:
    """All rows as columns `item` and `title`, and the reason to reject each, or FINE.

    `key` is the settings' key, for errors. Raises `DataError` for a missing column or an unsuitable type.
    """
    with open_parquet(file) as parquet:
        item = id_column(file, parquet, f"{key}.columns.item", columns["item"])
        title = column_name(file, parquet, f"{key}.columns.title", columns["title"])
        kind = parquet.schema_arrow.field(title).type
        if isinstance(kind, pa.BaseExtensionType):
            raise _no_titles(key, title, file, kind)
        table = parquet.read(columns=[item, title], use_threads=False)
    try:
        texts = pa.table({"item": _texts(table[item]), "title": _texts(table[title])})
    except pa.ArrowNotImplementedError as error:
        raise _no_titles(key, title, file, kind) from error
    return texts, refusals([column.combine_chunks() for column in texts.columns])


def _no_titles(key: str, title: str, file: InputFile, kind: Any) -> DataError:
    return DataError(f"{key}.columns.title: {title!r} of {file.name} is {kind}; it must hold text")


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast a column to text. Raises ArrowNotImplementedError for types without a text form, such as lists."""
    return pa.chunked_array([_text(decoded(chunk)) for chunk in column.chunks], pa.large_string())


def _text(array: pa.Array) -> pa.Array:
    if any(test(array.type) for test in BINARY):
        # Reinterpret the bytes; UTF-8 is checked row by row later.
        return pc.cast(array, pa.large_binary()).view(pa.large_string())
    return pc.cast(array, pa.large_string())
