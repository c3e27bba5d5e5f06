"""Splits the lines of a block into fields and rejects lines that cannot be split.

Every line of a block is blank, the header, an item line, rejected with a reason, or a row of the returned columns.
Line numbers therefore stay exact although blocks are parsed independently. Valid lines are processed only by
pyarrow and NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.hive import repeated
from recsys_dist.preparation.parsing.item_lines import ItemLines
from recsys_dist.preparation.parsing.layout import TextLayout
from recsys_dist.preparation.parsing.lines import FINE, Lines
from recsys_dist.preparation.parsing.quotes import misquoted
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.parsing.text_checks import refusals
from recsys_dist.storage.arrow import own_memory

_SPARE_SEPARATORS = "\x1f\x1e\x1d\x1c\x1b\x1a\x01\x02\x03\x04\x05\x06\x07"


@dataclass(frozen=True)
class Fields:
    """The wanted fields of the valid lines, and the rejected lines.

    Timestamps, which rarely repeat, are plain text; the other columns are dictionary-encoded.
    """

    columns: dict[str, pa.Array]
    line: NDArray[np.int64]
    """The line of each row in the block, from 0."""
    refused: NDArray[np.int64]
    refused_for: NDArray[np.int8]
    item_below: str | None = None
    """With item lines, the item of the rows after the block; None if unknown."""


def cut_fields(lines: Lines, layout: TextLayout, is_first: bool, item_above: str | None = None) -> Fields:
    """Split the lines of a block into the wanted fields.

    With item lines, `item_above` is the item of the block's first rows.
    """
    reasons = lines.refusals()
    if is_first and layout.has_header and len(lines):
        reasons[0] = FINE
    is_row = ~lines.is_blank
    if is_first and layout.has_header:
        is_row[:1] = False
    items = ItemLines.of(lines, reasons, layout.separator, item_above) if layout.has_item_lines else None
    if items is not None:
        is_row &= ~items.is_name
        items.refuse(is_row, reasons)
    in_folders = {name: repeated(value, 1) for name, value in layout.folder_values.items()}
    if in_folders:
        reasons[is_row & (reasons == FINE)] = refusals(list(in_folders.values()))[0]
    is_good = is_row & (reasons == FINE)
    reasons[is_good] = misquoted(lines, layout.separator, layout.quote, layout.escape)[is_good]
    is_good = is_row & (reasons == FINE)
    table = _read_plain(lines.select(is_good), layout, int(is_good.sum()))
    if table is None:
        normal, separator = _normalize(lines, is_good, layout, reasons)
        is_good &= reasons == FINE
        table = _read(normal, layout, separator, None, None)
        assert len(table) == is_good.sum(), "the number of valid lines equals the number of rows read"
    columns = {name: _single(table[str(position)]) for name, position in layout.positions.items()}
    rows, refused = np.flatnonzero(is_good), np.flatnonzero(is_row & ~is_good)
    if items is not None:
        columns["item"] = items.column(rows)
    for name, value in in_folders.items():
        column = value.take(pa.array(np.zeros(len(rows), np.int32)))
        columns[name] = column.dictionary_decode() if name == "timestamp" else column
    return Fields(columns, rows, refused, reasons[refused], items.below if items is not None else None)


def _read_plain(data: bytes, layout: TextLayout, num_lines: int) -> pa.Table | None:
    """Read all lines at once; None if one has a different number of fields than the layout."""
    separator = layout.separator
    quote, escape = (sign if sign and sign.encode() in data else None for sign in (layout.quote, layout.escape))
    if len(separator) > 1 or not separator.isascii():
        spare = _spare_separator(data)
        data, separator = data.replace(separator.encode(), spare.encode()), spare
    try:
        table = _read(data, layout, separator, quote, escape)
    except pa.ArrowInvalid:
        return None
    assert len(table) == num_lines, "no quote stays open at the end of a line"
    return table


def _spare_separator(data: bytes) -> str:
    for sign in _SPARE_SEPARATORS:
        if sign.encode() not in data:
            return sign
    raise DataError("this is not a text file: it contains every control character")


def _read(data: bytes, layout: TextLayout, separator: str, quote: str | None, escape: str | None) -> pa.Table:
    """Read lines as CSV. Raises ArrowInvalid if a line has a different number of fields."""
    used = {str(position): _type_of(field) for field, position in layout.positions.items()}
    if not data:
        return pa.table({name: pa.array([], kind) for name, kind in used.items()})
    names = [str(position) for position in range(layout.num_fields)]
    return pa_csv.read_csv(
        own_memory(data),
        pa_csv.ReadOptions(column_names=names, block_size=len(data) + 1, use_threads=False),
        pa_csv.ParseOptions(
            delimiter=separator,
            quote_char=quote or False,
            double_quote=quote is not None,
            escape_char=escape or False,
        ),
        pa_csv.ConvertOptions(
            column_types=used,
            include_columns=list(used),
            check_utf8=False,
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def _type_of(field: str) -> pa.DataType:
    return pa.string() if field == "timestamp" else pa.dictionary(pa.int32(), pa.string())


def _normalize(
    lines: Lines, is_good: NDArray[np.bool_], layout: TextLayout, reasons: NDArray[np.int8]
) -> tuple[bytes, str]:
    """Split lines one by one, mark those with a wrong number of fields, and join the others again.

    Slow; used only for blocks with such a line.
    """
    spare = _spare_separator(lines.data)
    rows = []
    for number, fields in _split_lines(lines, is_good, layout):
        if len(fields) != layout.num_fields:
            reasons[number] = Reason.FIELD_COUNT
        else:
            rows.append(spare.join(fields))
    return "".join(row + "\n" for row in rows).encode(), spare


def _split_lines(lines: Lines, wanted: NDArray[np.bool_], layout: TextLayout) -> Iterator[tuple[int, list[str]]]:
    for number in np.flatnonzero(wanted):
        fields = layout.split(lines.data[lines.starts[number] : lines.stops[number]].decode())
        assert fields is not None, "quotes are checked before"
        yield int(number), fields


def _single(column: Any) -> pa.Array:
    """Combine a column into one chunk."""
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
