"""Writes a table block by block, as CSV, TSV or Parquet by the name of the file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_dist.errors import ConfigError
from recsys_dist.storage.folder import Folder

SEPARATORS = {".csv": ",", ".tsv": "\t"}
FORMATS = (*SEPARATORS, ".parquet")
WriteBlock = Callable[[pa.Table], None]


def check_table_file(path: Path) -> None:
    """Raise `ConfigError` if the name of the output file does not end in .csv, .tsv or .parquet."""
    if path.suffix not in FORMATS:
        raise ConfigError(f"--output {path}: the name must end in .csv, .tsv or .parquet")


@contextmanager
def table_writer(path: Path) -> Iterator[WriteBlock]:
    """A function that appends a block to the file, which appears when the body ends without an error.

    All blocks have the same columns; without a block the file is empty.
    """
    final = path.resolve()
    check_table_file(final)
    with Folder(str(final.parent)).writer(final.name) as stream:
        if final.suffix == ".parquet":
            with _Parquet(stream) as parquet:
                yield parquet.write
        else:
            yield _Text(stream, SEPARATORS[final.suffix]).write


class _Parquet:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._stream, table.schema)
        self._writer.write_table(table)


class _Text:
    def __init__(self, stream: IO[bytes], separator: str) -> None:
        self._stream, self._separator = stream, separator
        self._has_header = False

    def write(self, table: pa.Table) -> None:
        if not self._has_header:
            names = [pa.array([name], pa.large_string()) for name in table.column_names]
            self._lines([_quoted(name, self._separator) for name in names])
            self._has_header = True
        if len(table):
            named = zip(table.column_names, table.columns, strict=True)
            self._lines([_quoted(_text(name, column), self._separator) for name, column in named])

    def _lines(self, columns: list[Any]) -> None:
        """Write rows, given as one column of text for each field."""
        line_N = pc.binary_join_element_wise(
            *columns, _large(self._separator), null_handling="replace", null_replacement=""
        )
        ended_N = pc.binary_join_element_wise(line_N, _large(""), _large("\n"))
        # The texts of an array lie one after the other in its last buffer.
        _, offsets, texts = ended_N.buffers()
        stops = np.frombuffer(offsets, np.int64)
        self._stream.write(texts[: int(stops[ended_N.offset + len(ended_N)])])


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _text(name: str, column: pa.ChunkedArray) -> Any:
    """A column as text, numbers with the digits that distinguish them. Raises `ConfigError` for nested values."""
    try:
        return pa.concat_arrays(pc.cast(column, pa.large_string()).chunks)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ConfigError(
            f"--output: text cannot hold column {name!r} of type {column.type}; write .parquet"
        ) from None


def _quoted(text_N: Any, separator: str) -> Any:
    """The texts as fields of a line: quoted, and quotes doubled, where a field contains a sign of the format."""
    signs = (separator, '"', "\r", "\n")
    # A search of the bytes of all texts is many times faster than one of each text.
    whole = (text_N.buffers()[2] or pa.py_buffer(b"")).to_pybytes()
    if not any(sign.encode() in whole for sign in signs):
        return text_N
    must_quote_N = pc.match_substring_regex(text_N, f"[{''.join(signs)}]")
    doubled_N = pc.replace_substring(text_N, '"', '""')
    return pc.if_else(
        must_quote_N, pc.binary_join_element_wise(_large('"'), doubled_N, _large('"'), _large("")), text_N
    )
