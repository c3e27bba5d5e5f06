"""Reads a table with columns of ids in blocks: CSV or TSV with a header, packed or not, or Parquet.

In: a file and the names of its id columns. Out: blocks of rows in the order of the file, with all columns, and the
ids as text, exactly as `prepare` reads them. Every row counts: the first that cannot be used ends the reading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.packing import without_packing
from recsys_dist.preparation.inputs.sources import InputFile, first_bytes, read_blocks
from recsys_dist.preparation.parsing.fields import cut_fields
from recsys_dist.preparation.parsing.layout import SAMPLE_BYTES, UTF8_BOM, TextLayout, read_layout, split_names
from recsys_dist.preparation.parsing.lines import Lines
from recsys_dist.preparation.parsing.parquet import id_column, open_parquet
from recsys_dist.preparation.parsing.parquet_types import decoded
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.parsing.separators import SEPARATORS
from recsys_dist.preparation.settings.input import FileSettings
from recsys_dist.suggestions import did_you_mean

BLOCK_BYTES = 4 << 20
BATCH_ROWS = 1 << 18
TABS = (".tsv", ".tab")
"""Names of files whose fields are separated by tabs; all others are separated by commas."""


@dataclass(frozen=True)
class TableBlock:
    """Consecutive rows of a table."""

    table: pa.Table
    """All columns; those of text files are text."""
    ids: dict[str, pa.DictionaryArray]
    """The ids in each id column, as text."""
    num_done: int
    """Parts of the file that are read, this one included; all are `num_parts`."""
    num_parts: int


def one_file(key: str, path: str) -> InputFile:
    """The file at a path, which may lie in a zip archive or behind a URL. Raises `DataError` if it is not one."""
    files = find_files(key, [path], _settings(path))
    if len(files) != 1:
        raise DataError(f"{key}: {path} holds {len(files)} files; name one of them")
    return files[0]


def read_table(key: str, path: str, id_columns: Mapping[str, str]) -> Iterator[TableBlock]:
    """The blocks of the file at a path, at least one. `key` is the argument or option that names the file, and the
    keys of `id_columns` are those that name its columns of ids, for errors.

    Raises `DataError` naming the file, and the line or row, if it cannot be read.
    """
    file = one_file(key, path)
    yield from (_read_parquet if file.format == "parquet" else _read_text)(file, id_columns)


def separator_of(path: str) -> str:
    """The separator of a text file, by its name."""
    return "\t" if without_packing(path).lower().endswith(TABS) else ","


def _settings(path: str) -> FileSettings:
    return FileSettings(separator=separator_of(path))


def _read_text(file: InputFile, id_columns: Mapping[str, str]) -> Iterator[TableBlock]:
    layout, names = _layout(file, id_columns)
    parts = file.blocks(BLOCK_BYTES)
    num_lines = 0
    for place, (start, stop) in enumerate(parts):
        for data in read_blocks(file, start, stop, BLOCK_BYTES):
            lines = Lines.of(data, layout.encoding, num_lines == 0)
            fields = cut_fields(lines, layout, num_lines == 0)
            _refuse(file, fields.refused, fields.refused_for, lines, num_lines)
            columns = [fields.columns[str(position)] for position in range(len(names))]
            ids = {name: columns[names.index(name)] for name in id_columns.values()}
            _refuse_empty(ids, f"{file.name} line", fields.line + num_lines + 1)
            num_lines += len(lines)
            table = pa.table([column.dictionary_decode() for column in columns], names)
            yield TableBlock(table, ids, place + 1, len(parts))


def _layout(file: InputFile, id_columns: Mapping[str, str]) -> tuple[TextLayout, list[str]]:
    """A layout that reads every column by its position, and the names of the columns."""
    layout = read_layout(file, _settings(file.name), {}, "")
    first_line = first_bytes(file, SAMPLE_BYTES).removeprefix(UTF8_BOM).split(b"\n", 1)[0].removesuffix(b"\r")
    names = split_names(first_line.decode("utf-8", "replace"), layout.separator, layout.quote)
    _require_columns(file, names, id_columns)
    return dataclasses.replace(layout, positions={str(place): place for place in range(len(names))}), names


def _require_columns(file: InputFile, names: Sequence[str], id_columns: Mapping[str, str]) -> None:
    """Raise `DataError` if a column of ids is missing, or a name stands for several columns."""
    for option, name in id_columns.items():
        if name not in names:
            shown = ", ".join(names)[:200] + _what_to_do(name, names)
            raise DataError(f"{option}: {file.name} has no column {name!r}; it has: {shown}")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{file.name} has more than one column {repeated!r}; rename one of them")


def _what_to_do(name: str, names: Sequence[str]) -> str:
    """The end of an error about a missing column."""
    if len(names) == 1 and any(name in names[0].split(sign) for sign in SEPARATORS):
        return "; fields must be separated by commas, or by tabs if the name of the file ends in .tsv"
    return did_you_mean(name, names)


def _refuse(
    file: InputFile, refused: NDArray[np.int64], reasons: NDArray[np.int8], lines: Lines, num_above: int
) -> None:
    """Raise `DataError` for the first of the refused lines."""
    if len(refused):
        line, reason = int(refused[0]), Reason(int(reasons[0])).label
        raise DataError(f"{file.name} line {num_above + line + 1}: {reason}: {lines.text(line)!r}")


def _refuse_empty(ids: Mapping[str, pa.DictionaryArray], where: str, number_N: NDArray[np.int64]) -> None:
    """Raise `DataError` for the first row without an id. `number_N` are the numbers of the rows in the file."""
    for name, column in ids.items():
        empty = pc.index(column.dictionary, "").as_py()
        row = -1 if empty < 0 else pc.index(column.indices, empty).as_py()
        if row >= 0:
            raise DataError(f"{where} {number_N[row]}: {name} is empty; leave the row out, or give its id")


def _read_parquet(file: InputFile, id_columns: Mapping[str, str]) -> Iterator[TableBlock]:
    with open_parquet(file) as parquet:
        schema = parquet.schema_arrow
        _require_columns(file, schema.names, id_columns)
        for option, name in id_columns.items():
            id_column(file, parquet, option, name)
        num_done = 0
        for batch in _batches(parquet):
            ids = {name: _encoded(batch.column(name)) for name in id_columns.values()}
            _refuse_empty(ids, f"{file.name} row", np.arange(num_done + 1, num_done + len(batch) + 1))
            num_done += len(batch)
            yield TableBlock(batch, ids, num_done, parquet.metadata.num_rows)


def _batches(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    if not parquet.metadata.num_rows:
        yield parquet.schema_arrow.empty_table()
    for batch in parquet.iter_batches(BATCH_ROWS, use_threads=False):
        yield pa.Table.from_batches([batch])


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column of ids as text; a null is empty text."""
    texts = pc.fill_null(pc.cast(decoded(column.combine_chunks()), pa.string()), "")
    return (
        texts.combine_chunks().dictionary_encode()
        if isinstance(texts, pa.ChunkedArray)
        else texts.dictionary_encode()
    )
