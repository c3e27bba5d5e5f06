"""Reads the wanted fields of a block of JSON Lines as text columns, and rejects lines that have none.

Arrow parses each piece from which it gives exactly what Python's decoder would. Other pieces are divided, and the
smallest are decoded by Python line by line:

    piece --types of its first objects--> Arrow --all lines are objects of these types--> columns
      ^                                     '--anything else--> smaller pieces, or Python
      '-------------------------------------------------------------'       '--> columns and rejected lines
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
from numpy.typing import NDArray

from recsys_dist.preparation.inputs.hive import repeated
from recsys_dist.preparation.parsing.fields import Fields
from recsys_dist.preparation.parsing.json_lines.layout import JsonLayout
from recsys_dist.preparation.parsing.json_lines.objects import Path, Real, Whole, decode, find, texts_of
from recsys_dist.preparation.parsing.lines import FINE, NEWLINE, Lines
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.parsing.text_checks import refusals
from recsys_dist.storage.arrow import own_memory

PIECE_BYTES = 1 << 20
PARTS, LEAST_ROWS = 8, 1000
"""Number of parts of a piece that Arrow cannot read, and the least rows of a piece to divide."""
PROBED_LINES = 20
MAX_BRACKETS = 200
"""Lines with more opening brackets are left to Python's decoder, which refuses values that are nested too deep."""
MINUS_ZERO = re.compile(rb":\s*-0\s*[,}]")
ODD_CONSTANT = re.compile(rb"[:,\[]\s*(-NaN|-?Inf)\s*[,}\]]")
"""Spellings that Arrow takes for numbers and Python's decoder does not."""


@dataclass(frozen=True)
class _Piece:
    """Text columns of the usable lines of a piece, and the rejected lines."""

    columns: dict[str, pa.StringArray]
    line: NDArray[np.int64]
    refused: NDArray[np.int64]
    refused_for: NDArray[np.int8]


def cut_objects(lines: Lines, layout: JsonLayout) -> Fields:
    """Read the wanted fields of each line; missing values are empty, but missing titles are null."""
    reasons = lines.refusals()
    is_row = ~lines.is_blank
    in_folders = {name: repeated(value, 1) for name, value in layout.folder_values.items()}
    if in_folders:
        reasons[is_row & (reasons == FINE)] = refusals(list(in_folders.values()))[0]
    pieces = _pieces(lines, np.flatnonzero(is_row & (reasons == FINE)))
    parts = [part for rows in pieces for part in _cut_piece(lines, rows, layout)]
    for part in parts:
        reasons[part.refused] = part.refused_for
    rows = np.concatenate([np.zeros(0, np.int64), *(part.line for part in parts)])
    columns = {
        name: pa.concat_arrays([pa.array([], pa.string()), *(part.columns[name] for part in parts)])
        for name in layout.fields
    }
    # Escapes can spell what no line of text can hold, such as a line end.
    unfit = refusals(list(columns.values())) if columns else np.full(len(rows), FINE, np.int8)
    reasons[rows] = unfit
    is_good = pa.array(unfit == FINE)
    rows = rows[unfit == FINE]
    chosen = {name: _encoded(name, column.filter(is_good)) for name, column in columns.items()}
    for name, value in in_folders.items():
        column = value.take(pa.array(np.zeros(len(rows), np.int32)))
        chosen[name] = column.dictionary_decode() if name == "timestamp" else column
    refused = np.flatnonzero(is_row & (reasons != FINE))
    return Fields(chosen, rows, refused, reasons[refused])


def _encoded(name: str, column: pa.StringArray) -> pa.Array:
    if name != "title":
        column = pc.fill_null(column, "")
    return column if name == "timestamp" else column.dictionary_encode()


def _pieces(lines: Lines, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Consecutive rows of about `PIECE_BYTES`."""
    number = lines.starts[rows] // PIECE_BYTES
    edges = np.flatnonzero(np.diff(number)) + 1
    return iter(part for part in np.split(rows, edges) if len(part))


def _cut_piece(lines: Lines, rows: NDArray[np.int64], layout: JsonLayout) -> Iterator[_Piece]:
    columns = _read_fast(lines, rows, layout)
    if columns is not None:
        yield _Piece(columns, rows, rows[:0], np.zeros(0, np.int8))
    elif len(rows) < LEAST_ROWS:
        yield _read_exactly(lines, rows, layout)
    else:
        for part in np.array_split(rows, PARTS):
            yield from _cut_piece(lines, part, layout)


def _read_exactly(lines: Lines, rows: NDArray[np.int64], layout: JsonLayout) -> _Piece:
    """Decode line by line."""
    texts: list[list[str | None]] = []
    found: list[int] = []
    refused: list[tuple[int, Reason]] = []
    for row in rows.tolist():
        whole = decode(lines.text_of(row))
        values = Reason.NOT_AN_OBJECT if whole is None else texts_of(whole, layout.fields)
        if isinstance(values, Reason):
            refused.append((row, values))
        else:
            found.append(row)
            texts.append(values)
    columns = zip(*texts, strict=True) if texts else [()] * len(layout.fields)
    return _Piece(
        {name: _as_array(list(column)) for name, column in zip(layout.fields, columns, strict=True)},
        np.array(found, np.int64),
        np.array([row for row, _ in refused], np.int64),
        np.array([reason for _, reason in refused], np.int8),
    )


def _as_array(texts: list[str | None]) -> pa.StringArray:
    """Texts as an Arrow array; lone surrogates become bytes that are not UTF-8, and are rejected as such."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        data = [text if text is None else text.encode("utf-8", "surrogatepass") for text in texts]
        return pa.array(data, pa.binary()).view(pa.string())


def _read_fast(lines: Lines, rows: NDArray[np.int64], layout: JsonLayout) -> dict[str, pa.StringArray] | None:
    """Parse by Arrow; None if the result might differ from `_read_exactly`."""
    data = np.frombuffer(lines.data, np.uint8)
    # If each line begins and ends with a brace, as many objects as lines means one object in each.
    is_braced = (data[lines.starts[rows]] == ord("{")) & (data[lines.stops[rows] - 1] == ord("}"))
    schema = _schema(_types(lines, rows, layout)) if is_braced.all() else None
    if schema is None:
        return None
    piece = _bytes_of(lines, rows)
    if _is_deep(piece) or ((b"-NaN" in piece or b"Inf" in piece) and ODD_CONSTANT.search(piece)):
        return None
    table = _read_json(piece, schema)
    if table is None or len(table) != len(rows):
        return None
    columns = {name: _at(table, path) for name, (path, _) in layout.fields.items()}
    if any(map(_has_zero, columns.values())) and b"-0" in piece and MINUS_ZERO.search(piece):
        return None
    return {name: _as_text(column) for name, column in columns.items()}


def _bytes_of(lines: Lines, rows: NDArray[np.int64]) -> bytes:
    """The bytes of some lines, each with its line end."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return b"".join(lines.data[lines.starts[run[0]] : lines.stops[run[-1]] + 1] for run in runs)


def _is_deep(piece: bytes) -> bool:
    """Whether a line has many opening brackets."""
    data = np.frombuffer(piece, np.uint8)
    places = np.flatnonzero((data == ord("{")) | (data == ord("[")))
    starts = np.concatenate([[0], np.flatnonzero(data == NEWLINE) + 1, [len(data)]])
    return int(np.diff(np.searchsorted(places, starts)).max(initial=0)) > MAX_BRACKETS


def _read_json(piece: bytes, schema: pa.Schema) -> pa.Table | None:
    """The fields of the schema; None if a line is damaged or has values of other types."""
    read = pa_json.ReadOptions(use_threads=False, block_size=len(piece) + 1)
    parse = pa_json.ParseOptions(
        explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior="ignore"
    )
    try:
        return pa_json.read_json(own_memory(piece), read, parse)
    except pa.ArrowInvalid:
        return None


def _types(lines: Lines, rows: NDArray[np.int64], layout: JsonLayout) -> dict[Path, pa.DataType | None]:
    """The Arrow type of the first value at each path; None if Arrow cannot read such values exactly."""
    objects = [found for row in rows[:PROBED_LINES].tolist() if (found := decode(lines.text_of(row))) is not None]
    types: dict[Path, pa.DataType | None] = {}
    for name, (path, _) in layout.fields.items():
        values = (find(one, path) for one in objects)
        types[path] = _type(name, next((value for value in values if value is not None), ""))
    return types


def _type(name: str, value: Any) -> pa.DataType | None:
    if name == "rating" and isinstance(value, Whole | Real):
        return pa.float64()
    if isinstance(value, Whole) and name != "title":
        return pa.int64()
    return pa.string() if type(value) is str else None


def _schema(types: Mapping[Path, pa.DataType | None]) -> pa.Schema | None:
    """Nested types of all paths; None if a type is missing or a path leads through another one's value."""
    tree: dict[str, Any] = {}
    for path, kind in types.items():
        inner = tree
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                return None
        if kind is None or path[-1] in inner:
            return None
        inner[path[-1]] = kind
    return pa.schema(_struct(tree))


def _struct(tree: Mapping[str, Any]) -> list[pa.Field]:
    return [
        pa.field(key, pa.struct(_struct(inner)) if isinstance(inner, dict) else inner)
        for key, inner in tree.items()
    ]


def _at(table: pa.Table, path: Path) -> pa.Array:
    """The column at a path; null where an object on the way is missing."""
    column = table[path[0]].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return pc.struct_field(column, list(path[1:])) if len(path) > 1 else column


def _has_zero(column: pa.Array) -> bool:
    return pa.types.is_int64(column.type) and bool(pc.any(pc.equal(column, 0)).as_py())


def _as_text(column: pa.Array) -> pa.StringArray:
    if pa.types.is_string(column.type):
        return column
    encoded = column.dictionary_encode()
    return pc.cast(encoded.dictionary, pa.string()).take(encoded.indices)
