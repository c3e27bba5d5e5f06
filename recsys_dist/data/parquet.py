"""Ratings from Parquet files: the same strictness as for text, with the types that the files carry.

Ids are whole numbers or text, and become the text that a text file would hold; a null is an empty field.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_dist.data.config import RatingRules
from recsys_dist.data.input_config import Column, RatingColumns, TimestampFormat
from recsys_dist.data.order import LONG_STRETCH
from recsys_dist.data.ratings import ParsedBlock, check_rows
from recsys_dist.data.rejects import Rejects, shorten
from recsys_dist.data.sources import InputFile, open_file
from recsys_dist.data.timestamps import parse_timestamps, tells_moments
from recsys_dist.errors import DataError

BATCH_ROWS = 1 << 20
PROBE_ROWS = 4096
"""Looked at to tell whether neighbours often hold the same."""


def group_ranges(file: InputFile, block_bytes: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) of row groups that can be parsed apart.

    Each is of about `block_bytes` and one batch of rows at most, unless a single row group is larger.
    """
    with open_parquet(file) as parquet:
        groups = [parquet.metadata.row_group(number) for number in range(parquet.metadata.num_row_groups)]
    starts, num_bytes, num_rows = [0], 0, 0
    for number, group in enumerate(groups):
        num_bytes, num_rows = num_bytes + group.total_byte_size, num_rows + group.num_rows
        if number > starts[-1] and (num_bytes > block_bytes or num_rows > BATCH_ROWS):
            starts.append(number)
            num_bytes, num_rows = group.total_byte_size, group.num_rows
    return list(itertools.pairwise([*starts, len(groups)]))


def parse_parquet(
    file: InputFile,
    groups: range,
    columns: RatingColumns,
    rules: RatingRules,
    timestamp_format: TimestampFormat = "number",
    batch_rows: int = BATCH_ROWS,
) -> Iterator[ParsedBlock]:
    """Parse row groups of a Parquet file in batches of rows; a row's number stands for its line."""
    wanted: dict[str, Column] = {name: column for name, column in dict(columns).items() if column is not None}
    with open_parquet(file) as parquet:
        names = {field: _rating_column(file, parquet, field, column) for field, column in wanted.items()}
        batches = parquet.iter_batches(
            batch_rows, row_groups=list(groups), columns=list(names.values()), use_threads=False
        )
        for batch in batches:
            fields = {field: batch.column(name) for field, name in names.items()}
            yield _parse_batch(fields, rules, timestamp_format)


@contextmanager
def open_parquet(file: InputFile) -> Iterator[Any]:
    """Open a Parquet file for reading. Raises `DataError` naming it where it cannot be read."""
    with open_file(file) as stream:
        try:
            yield pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file.name} is not a usable Parquet file: {' '.join(str(error).split())}") from error


def _rating_column(file: InputFile, parquet: pq.ParquetFile, field: str, column: Column) -> str:
    name = column_name(file, parquet, f"input.columns.{field}", column)
    kind = parquet.schema_arrow.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_number = pa.types.is_integer(kind) or (field == "rating" and pa.types.is_floating(kind))
    is_moment = field == "timestamp" and tells_moments(kind)
    if not (is_number or is_moment or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        allowed = {"rating": "numbers", "timestamp": "numbers, dates and times"}.get(field, "whole numbers")
        raise DataError(
            f"input.columns.{field}: {name!r} of {file.name} is {kind}; it must hold {allowed} or text"
        )
    return name


def column_name(file: InputFile, parquet: pq.ParquetFile, key: str, column: Column) -> str:
    """The name of a column given by name or by position from 0; `key` is where the settings give it."""
    names = parquet.schema_arrow.names
    if isinstance(column, int) and column < len(names):
        column = names[column]
    if names.count(column) != 1:
        shown = ", ".join(names)[:200]
        raise DataError(f"{key}: {file.name} has no column {column!r}; it has: {shown}")
    return str(column)


def _parse_batch(batch: dict[str, pa.Array], rules: RatingRules, timestamp_format: TimestampFormat) -> ParsedBlock:
    columns = {field: _as_text(array) for field, array in batch.items() if field != "timestamp"}
    if "timestamp" in batch:
        columns["timestamp"] = _decoded(batch["timestamp"])
    num_rows = len(columns["user"])
    rows, refused, reasons = check_rows(columns, np.arange(num_rows), rules, timestamp_format)
    shown = {field: _readable(column.take(pa.array(refused))) for field, column in columns.items()}
    texts = (",".join(map(str, values)) for values in zip(*shown.values(), strict=True))
    rejects = Rejects.of(
        (int(row) + 1, int(reason), shorten(text))
        for row, reason, text in zip(refused, reasons, texts, strict=True)
    )
    return ParsedBlock(rows, rejects, num_rows)


def _as_text(array: pa.Array) -> pa.DictionaryArray:
    """Any column as dictionary-encoded text; a null is the empty text, which no field may be."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    encoded = _encode(array)
    texts = pc.cast(encoded.dictionary, pa.string())
    indices = encoded.indices
    if array.null_count:
        indices = pc.fill_null(indices, len(texts))
        texts = pa.concat_arrays([texts, pa.array([""])])
    return pa.DictionaryArray.from_arrays(indices, texts)


def _encode(array: pa.Array) -> pa.DictionaryArray:
    """Dictionary-encode; in a file that is in order of users each stretch of one user is looked up once."""
    if array.null_count or len(pc.run_end_encode(array[:PROBE_ROWS]).values) * LONG_STRETCH > PROBE_ROWS:
        return array.dictionary_encode()
    stretches = pc.run_end_encode(array)
    values = stretches.values.dictionary_encode()
    lengths = np.diff(stretches.run_ends.to_numpy(), prepend=0)
    return pa.DictionaryArray.from_arrays(np.repeat(values.indices.to_numpy(), lengths), values.dictionary)


def _decoded(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _readable(column: pa.Array) -> list[object]:
    """Values for people; moments as whole seconds, which Python has no type for in all cases."""
    if not pa.types.is_temporal(column.type):
        return list(column.to_pylist())
    moments, is_bad = parse_timestamps(column, "number")
    return [None if bad else second for second, bad in zip(moments.whole.tolist(), is_bad.tolist(), strict=True)]
