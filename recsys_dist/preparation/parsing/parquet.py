"""Parses ratings from Parquet files as strictly as from text, using the column types.

Ids are whole numbers or text, and become the text that a text file would contain; a null is an empty field.
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
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.sorting import LONG_STRETCH
from recsys_dist.preparation.inputs.hive import folder_values, repeated, wanted_values
from recsys_dist.preparation.inputs.kinds import kind_of
from recsys_dist.preparation.inputs.sources import InputFile, open_file
from recsys_dist.preparation.parsing.lines import FINE
from recsys_dist.preparation.parsing.parquet_types import (
    decoded,
    is_number,
    is_text,
    is_whole,
    value_type,
    values_of,
)
from recsys_dist.preparation.parsing.rejects import Rejects, shorten
from recsys_dist.preparation.parsing.rows import ParsedBlock, check_rows
from recsys_dist.preparation.parsing.text_checks import readable, refusals
from recsys_dist.preparation.parsing.timestamps import parse_timestamps, tells_moments
from recsys_dist.preparation.settings.input import Column, RatingColumns, TimestampFormat
from recsys_dist.preparation.settings.prepare import RatingRules
from recsys_dist.storage import arrow
from recsys_dist.suggestions import did_you_mean

BATCH_ROWS = 1 << 20
PROBE_ROWS = 4096
"""Sample size for the decision whether a column has long runs of equal values."""
FIELDS = ("user", "item", "rating", "timestamp")


def group_ranges(file: InputFile, block_bytes: int, columns: RatingColumns | None = None) -> list[tuple[int, int]]:
    """Ranges (start, stop) of row groups that can be parsed independently.

    Each has at most about `block_bytes` and one batch of rows, unless a single row group is larger. Raises
    `DataError` if the file lacks one of the `columns`.
    """
    with open_parquet(file) as parquet:
        if columns is not None:
            rating_columns(file, parquet, columns)
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
    """Parse row groups of a Parquet file in batches of rows; row numbers take the place of line numbers."""
    with open_parquet(file) as parquet:
        names, values = rating_columns(file, parquet, columns)
        batches = parquet.iter_batches(
            batch_rows, row_groups=list(groups), columns=list(names.values()), use_threads=False
        )
        for batch in batches:
            fields = {field: batch.column(name) for field, name in names.items()}
            fields |= {field: repeated(value, batch.num_rows) for field, value in values.items()}
            yield _parse_batch(
                {field: fields[field] for field in FIELDS if field in fields}, rules, timestamp_format
            )


@contextmanager
def open_parquet(file: InputFile) -> Iterator[Any]:
    """Open a Parquet file for reading. Raises `DataError` naming the file if it cannot be read."""
    with open_file(file) as stream:
        try:
            yield arrow.open_parquet(stream)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            kind = kind_of(file)
            problem = " ".join(str(error).split()) if kind is None else f"it is {kind}"
            raise DataError(f"{file.name} is not a usable Parquet file: {problem}") from error


def rating_columns(
    file: InputFile, parquet: pq.ParquetFile, columns: RatingColumns
) -> tuple[dict[str, str], dict[str, bytes]]:
    """The column name of each field in the file, and the values of fields from folder names on the path.

    Raises `DataError` if a column is missing or has an unsuitable type.
    """
    wanted: dict[str, Column] = {name: column for name, column in dict(columns).items() if column is not None}
    values = wanted_values(file, wanted, parquet.schema_arrow.names)
    in_file = {field: column for field, column in wanted.items() if field not in values}
    return {field: _rating_column(file, parquet, field, column) for field, column in in_file.items()}, values


def _rating_column(file: InputFile, parquet: pq.ParquetFile, field: str, column: Column) -> str:
    if field in {"user", "item"}:
        return id_column(file, parquet, f"input.columns.{field}", column)
    name = column_name(file, parquet, f"input.columns.{field}", column)
    kind = value_type(parquet.schema_arrow.field(name).type)
    is_moment = field == "timestamp" and tells_moments(kind)
    if not (is_text(kind) or is_moment or (field == "rating" and is_number(kind))):
        allowed = {"rating": "numbers", "timestamp": "numbers, dates and times"}[field]
        raise _unfit(file, f"input.columns.{field}", name, kind, allowed)
    return name


def id_column(file: InputFile, parquet: pq.ParquetFile, key: str, column: Column) -> str:
    """The name of an id column. Raises `DataError` if its type is neither whole numbers nor text."""
    name = column_name(file, parquet, key, column)
    kind = value_type(parquet.schema_arrow.field(name).type)
    if not (is_text(kind) or is_whole(kind)):
        raise _unfit(file, key, name, kind, "whole numbers")
    return name


def _unfit(file: InputFile, key: str, name: str, kind: Any, allowed: str) -> DataError:
    problem = f"{name!r} of {file.name} is {kind}; it must hold {allowed} or text"
    return DataError(f"{key}: {problem}; cast it when writing the file")


def column_name(file: InputFile, parquet: pq.ParquetFile, key: str, column: Column) -> str:
    """The name of a column given by name or by position from 0; `key` is the settings' key, for errors."""
    names = parquet.schema_arrow.names
    if isinstance(column, int) and column < len(names):
        column = names[column]
    if names.count(column) != 1:
        problem = "more than one column" if column in names else "no column"
        shown = ", ".join([*names, *folder_values(file)])[:200]
        hint = did_you_mean(str(column), names) if column not in names else ""
        raise DataError(f"{key}: {file.name} has {problem} {column!r}; it has: {shown}{hint}")
    return str(column)


def _parse_batch(batch: dict[str, pa.Array], rules: RatingRules, timestamp_format: TimestampFormat) -> ParsedBlock:
    columns = {field: _as_text(array) for field, array in batch.items() if field != "timestamp"}
    if "timestamp" in batch:
        columns["timestamp"] = values_of(batch["timestamp"])
    num_rows = len(columns["user"])
    unfit = refusals([column for column in columns.values() if is_text(value_type(column.type))])
    fine = np.flatnonzero(unfit == FINE)
    usable = columns if len(fine) == num_rows else {field: _pick(columns[field], fine) for field in columns}
    rows, refused, reasons = check_rows(usable, fine, rules, timestamp_format)
    bad_rows = np.concatenate([np.flatnonzero(unfit != FINE), refused])
    bad_reasons = np.concatenate([unfit[unfit != FINE], reasons])
    shown = {field: _readable(column.take(pa.array(bad_rows))) for field, column in columns.items()}
    texts = (",".join(values) for values in zip(*shown.values(), strict=True))
    rejects = Rejects.of(
        (int(row) + 1, int(reason), shorten(text))
        for row, reason, text in zip(bad_rows, bad_reasons, texts, strict=True)
    )
    return ParsedBlock(rows, rejects, num_rows)


def _pick(column: pa.Array, rows: NDArray[np.int64]) -> pa.Array:
    """Select rows and drop the dictionary values of the others, which Arrow may be unable to decode."""
    picked = column.take(pa.array(rows))
    return picked.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(column.type) else picked


def _as_text(array: pa.Array) -> pa.DictionaryArray:
    """Convert any column to dictionary-encoded text; a null becomes empty text, which is always rejected."""
    array = decoded(array)
    encoded = _encode(array)
    texts = pc.cast(encoded.dictionary, pa.string())
    indices = encoded.indices
    if array.null_count:
        indices = pc.fill_null(indices, len(texts))
        texts = pa.concat_arrays([texts, pa.array([""])])
    return pa.DictionaryArray.from_arrays(indices, texts)


def _encode(array: pa.Array) -> pa.DictionaryArray:
    """Dictionary-encode a column; long runs of equal values, as in files sorted by user, are looked up once."""
    if array.null_count or len(pc.run_end_encode(array[:PROBE_ROWS]).values) * LONG_STRETCH > PROBE_ROWS:
        return array.dictionary_encode()
    stretches = pc.run_end_encode(array)
    values = stretches.values.dictionary_encode()
    lengths = np.diff(stretches.run_ends.to_numpy(), prepend=0)
    return pa.DictionaryArray.from_arrays(np.repeat(values.indices.to_numpy(), lengths), values.dictionary)


def _readable(column: pa.Array) -> list[str]:
    """Values as text for messages; timestamps as whole seconds, as Python cannot represent all of them."""
    if not pa.types.is_temporal(column.type):
        return [readable(value) for value in column]
    moments, is_bad = parse_timestamps(column, "number")
    return [str(None if bad else when) for when, bad in zip(moments.whole.tolist(), is_bad.tolist(), strict=True)]
