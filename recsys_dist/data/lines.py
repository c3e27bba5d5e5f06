"""One block of text into lines, the lines that cannot be cut into fields, and the fields of all others.

Every line of a block is blank, the header, refused with a reason, or a row of the columns handed out, so that
lines can be counted and named although blocks are parsed apart. Only pyarrow and NumPy work on good lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from recsys_dist.data.layout import UTF8_BOM, Layout, split_line
from recsys_dist.data.rejects import Reason, shorten
from recsys_dist.data.sources import MAX_LINE_BYTES
from recsys_dist.errors import DataError

NEWLINE, CARRIAGE_RETURN = 10, 13
_SPARE_SEPARATORS = "\x1f\x1e\x1d\x1c\x1b\x1a\x01\x02\x03\x04\x05\x06\x07"
_FINE = -1


@dataclass(frozen=True)
class Lines:
    """The lines of a block as UTF-8 without carriage returns: line i is bytes starts[i] .. stops[i]."""

    data: bytes
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    undecodable: NDArray[np.int64]
    """Lines that are not valid in the file's encoding."""

    @classmethod
    def of(cls, data: bytes, encoding: str, is_first: bool) -> Lines:
        """Cut a block that begins with a whole line; `is_first` where it begins the file."""
        if is_first and encoding == "utf-8":
            data = data.removeprefix(UTF8_BOM)
        data = data.replace(b"\r\n", b"\n") if b"\r\n" in data else data
        undecodable = np.zeros(0, np.int64)
        if not data.isascii():
            data, undecodable = _to_utf8(data, encoding)
        line_ends = np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE)
        if data and not data.endswith(b"\n"):
            line_ends = np.append(line_ends, len(data))
        starts = np.concatenate([[0], line_ends[:-1] + 1]) if len(line_ends) else line_ends
        return cls(data, starts, line_ends, undecodable)

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, line: int) -> str:
        """A line as people may read it."""
        data = self.data[self.starts[line] : self.stops[line]]
        return shorten(data[: 4 * MAX_LINE_BYTES].decode("utf-8", errors="backslashreplace"))

    @cached_property
    def is_blank(self) -> NDArray[np.bool_]:
        """Which lines hold nothing at all."""
        return np.equal(self.starts, self.stops)

    def refusals(self) -> NDArray[np.int8]:
        """The reason that each line is refused for before it is cut into fields, or _FINE."""
        reasons = np.full(len(self), _FINE, np.int8)
        reasons[self.undecodable] = Reason.ENCODING
        for byte, reason in ((b"\r", Reason.CARRIAGE_RETURN), (b"\0", Reason.NUL)):
            if byte in self.data:
                places = np.flatnonzero(np.frombuffer(self.data, np.uint8) == byte[0])
                reasons[np.searchsorted(self.stops, places)] = reason
        reasons[self.stops - self.starts > MAX_LINE_BYTES] = Reason.LINE_LENGTH
        return reasons

    def select(self, wanted: NDArray[np.bool_]) -> bytes:
        """The bytes of the wanted lines, each with its line end."""
        edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0))
        runs = zip(edges[::2], edges[1::2] - 1, strict=True)
        pieces = [self.data[self.starts[first] : self.stops[last] + 1] for first, last in runs]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _to_utf8(data: bytes, encoding: str) -> tuple[bytes, NDArray[np.int64]]:
    """The same lines in UTF-8, and the numbers of those that cannot be decoded, which stay as they are."""
    try:
        text = data.decode(encoding)
        return (data if encoding == "utf-8" else text.encode()), np.zeros(0, np.int64)
    except UnicodeDecodeError:
        lines = data.split(b"\n")
    undecodable = []
    for number, line in enumerate(lines):
        try:
            lines[number] = line.decode(encoding).encode()
        except UnicodeDecodeError:
            undecodable.append(number)
    return b"\n".join(lines), np.array(undecodable, np.int64)


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


def cut_fields(lines: Lines, layout: Layout, is_first: bool) -> Fields:
    """Cut every line that can be cut into the wanted fields."""
    reasons = lines.refusals()
    if is_first and layout.has_header and len(lines):
        reasons[0] = _FINE
    is_row = ~lines.is_blank
    if is_first and layout.has_header:
        is_row[:1] = False
    is_good = is_row & (reasons == _FINE)
    table = _read_plain(lines.select(is_good), layout, int(is_good.sum()))
    if table is None:
        normal, separator = _normalize(lines, is_good, layout, reasons)
        is_good &= reasons == _FINE
        table = _read(normal, layout, separator, None)
        assert len(table) == is_good.sum(), "the lines counted as good are the rows read"
    columns = {name: _single(table[str(position)]) for name, position in layout.positions.items()}
    refused = np.flatnonzero(is_row & ~is_good)
    return Fields(columns, np.flatnonzero(is_good), refused, reasons[refused])


def _read_plain(data: bytes, layout: Layout, num_lines: int) -> pa.Table | None:
    """Read lines straight away; None where one of them needs a closer look."""
    quote, separator = layout.quote, layout.separator
    if quote is not None and quote.encode() not in data:
        quote = None
    if len(separator) > 1 or not separator.isascii():
        spare = _spare_separator(data)
        data, separator = data.replace(separator.encode(), spare.encode()), spare
    elif quote is not None and split_line(_last_line(data), separator, quote) is None:
        return None
    try:
        table = _read(data, layout, separator, quote)
    except pa.ArrowInvalid:
        return None
    # An open quote swallows line ends, so that fewer rows than lines come out.
    return table if len(table) == num_lines else None


def _last_line(data: bytes) -> str:
    return data.rstrip(b"\n").rpartition(b"\n")[2].decode()


def _spare_separator(data: bytes) -> str:
    for sign in _SPARE_SEPARATORS:
        if sign.encode() not in data:
            return sign
    raise DataError("this is not a text file: it holds every control character")


def _read(data: bytes, layout: Layout, separator: str, quote: str | None) -> pa.Table:
    """Raises ArrowInvalid where a line has another number of fields."""
    used = {str(position): _type_of(field) for field, position in layout.positions.items()}
    if not data:
        return pa.table({name: pa.array([], kind) for name, kind in used.items()})
    names = [str(position) for position in range(layout.num_fields)]
    return pa_csv.read_csv(
        pa.py_buffer(data),
        pa_csv.ReadOptions(column_names=names, block_size=len(data) + 1, use_threads=False),
        pa_csv.ParseOptions(delimiter=separator, quote_char=quote or False, double_quote=quote is not None),
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
    lines: Lines, is_good: NDArray[np.bool_], layout: Layout, reasons: NDArray[np.int8]
) -> tuple[bytes, str]:
    """Cut the lines one by one, note those that have other fields than the layout, and join the others anew.

    Slow, and only for blocks with a bad line or with a separator between quotes.
    """
    spare = _spare_separator(lines.data)
    rows = []
    for number, fields in _split_lines(lines, is_good, layout):
        if fields is None:
            reasons[number] = Reason.QUOTE
        elif len(fields) != layout.num_fields:
            reasons[number] = Reason.FIELD_COUNT
        else:
            rows.append(spare.join(fields))
    return "".join(row + "\n" for row in rows).encode(), spare


def _split_lines(
    lines: Lines, wanted: NDArray[np.bool_], layout: Layout
) -> Iterator[tuple[int, list[str] | None]]:
    for number in np.flatnonzero(wanted):
        line = lines.data[lines.starts[number] : lines.stops[number]].decode()
        yield int(number), split_line(line, layout.separator, layout.quote)


def _single(column: Any) -> pa.Array:
    """A column of one chunk."""
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
