"""The lines of a block into fields, and which lines cannot be cut into them.

Every line of a block is blank, the header, the name of an item, refused with a reason, or a row of the columns
handed out, so that lines can be counted and named although blocks are parsed apart. Only pyarrow and NumPy work on
good lines.
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
    """The wanted fields of the good lines, and what was refused on the way.

    Timestamps, which rarely repeat, are plain text; all else is dictionary-encoded.
    """

    columns: dict[str, pa.Array]
    line: NDArray[np.int64]
    """The line of each row, from 0 within the block."""
    refused: NDArray[np.int64]
    refused_for: NDArray[np.int8]
    item_below: str | None = None
    """Where lines name the items, the item of the rows that follow the block; None where that is unknown."""


def cut_fields(lines: Lines, layout: TextLayout, is_first: bool, item_above: str | None = None) -> Fields:
    """Cut every line that can be cut into the wanted fields.

    `item_above` is the item of the rows that the block begins with, where lines name the items.
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
        assert len(table) == is_good.sum(), "the lines counted as good are the rows read"
    columns = {name: _single(table[str(position)]) for name, position in layout.positions.items()}
    rows, refused = np.flatnonzero(is_good), np.flatnonzero(is_row & ~is_good)
    if items is not None:
        columns["item"] = items.column(rows)
    for name, value in in_folders.items():
        column = value.take(pa.array(np.zeros(len(rows), np.int32)))
        columns[name] = column.dictionary_decode() if name == "timestamp" else column
    return Fields(columns, rows, refused, reasons[refused], items.below if items is not None else None)


def _read_plain(data: bytes, layout: TextLayout, num_lines: int) -> pa.Table | None:
    """Read lines straight away; None where one of them has another number of fields than the layout."""
    separator = layout.separator
    quote, escape = (sign if sign and sign.encode() in data else None for sign in (layout.quote, layout.escape))
    if len(separator) > 1 or not separator.isascii():
        spare = _spare_separator(data)
        data, separator = data.replace(separator.encode(), spare.encode()), spare
    try:
        table = _read(data, layout, separator, quote, escape)
    except pa.ArrowInvalid:
        return None
    assert len(table) == num_lines, "no quote is open at the end of a line"
    return table


def _spare_separator(data: bytes) -> str:
    for sign in _SPARE_SEPARATORS:
        if sign.encode() not in data:
            return sign
    raise DataError("this is not a text file: it holds every control character")


def _read(data: bytes, layout: TextLayout, separator: str, quote: str | None, escape: str | None) -> pa.Table:
    """Raises ArrowInvalid where a line has another number of fields."""
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
    """Cut the lines one by one, note those that have other fields than the layout, and join the others anew.

    Slow, and only for blocks with a line of another number of fields.
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
        assert fields is not None, "quotes are judged before"
        yield int(number), fields


def _single(column: Any) -> pa.Array:
    """A column of one chunk."""
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
