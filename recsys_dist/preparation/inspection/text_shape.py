"""Guesses the format of a text file: encoding, separator, quote, escape, header and item lines.

The separator is one that splits (nearly) all lines of the sample into the same number of fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from recsys_dist.errors import DataError
from recsys_dist.preparation.inspection.column_roles import is_known_name
from recsys_dist.preparation.parsing.layout import UTF8_BOM, TextLayout, split_line, split_names
from recsys_dist.preparation.parsing.lines import Lines
from recsys_dist.preparation.parsing.rows import NUMBER
from recsys_dist.preparation.parsing.separators import SEPARATORS

QUOTE = '"'
ESCAPE = "\\"
ITEM_LINE = re.compile(r"[^,;|\s]+:")
SHAPE_LINES = 4000
"""Number of lines from the beginning of each piece that are split by every separator."""
LEAST_SHARE, GOOD_SHARE = 0.5, 0.95
"""Fraction of lines that must have the same number of fields, and the fraction that counts as all lines."""


@dataclass(frozen=True)
class TextShape:
    """The guessed settings of a text file."""

    encoding: str
    has_bom: bool
    is_encoding_sure: bool
    separator: str
    quote: str | None
    header: tuple[str, ...] | None
    """The column names; None if the first line is a row."""
    has_item_lines: bool
    num_fields: int
    share: float
    """Fraction of the lines with this number of fields."""
    escape: str | None = None
    num_misquoted: int = 0
    """Number of lines with misplaced quotes or escapes."""

    @property
    def layout(self) -> TextLayout:
        """A layout that reads every column, by position."""
        positions = {str(position): position for position in range(self.num_fields)}
        has_header = self.header is not None
        return TextLayout(
            *(self.separator, self.quote, self.encoding, has_header, self.num_fields, positions),
            has_item_lines=self.has_item_lines,
            escape=self.escape,
        )


@dataclass(frozen=True)
class _Cut:
    """The lines of the sample, split by one separator."""

    separator: str
    rows: list[list[str] | None]
    num_fields: int
    share: float
    quote: str | None
    escape: str | None

    @property
    def num_fitting(self) -> int:
        """Number of lines with valid quotes and the most frequent number of fields."""
        return sum(row is not None and len(row) == self.num_fields for row in self.rows)


def guess_shape(name: str, pieces: Sequence[bytes], num_elsewhere: int = 0) -> TextShape:
    """Guess the format from the pieces of a sample. Raises `DataError` naming the file if no separator fits.

    Lines may lack `num_elsewhere` fields of a rating, which folder names may provide.
    """
    encoding = _encoding(pieces)
    lines = _lines(pieces, encoding)
    if not lines:
        raise DataError(f"{name} begins with only empty lines")
    has_item_lines = ITEM_LINE.fullmatch(lines[0]) is not None
    if has_item_lines:
        lines = [line for line in lines if not ITEM_LINE.fullmatch(line)]
    cut = _best_cut(name, lines, least=max(2, 3 - has_item_lines - num_elsewhere))
    header = None if has_item_lines else _header(cut, lines[0])
    return TextShape(
        encoding,
        pieces[0].startswith(UTF8_BOM),
        encoding == "utf-8",
        cut.separator,
        cut.quote,
        header,
        has_item_lines,
        cut.num_fields,
        cut.share,
        cut.escape,
        cut.rows[1:].count(None) if header is not None else cut.rows.count(None),
    )


def from_first_item(data: bytes) -> bytes:
    """Cut a piece from the middle of a file with item lines so that it begins with its first item line."""
    found = re.search(rb"^[^,;|\s]+:\r?$", data, re.MULTILINE)
    return data[found.start() :] if found is not None else b""


def _encoding(pieces: Sequence[bytes]) -> str:
    """UTF-8, unless most of the non-ASCII lines are invalid in it."""
    num_bad = sum(len(Lines.of(piece, "utf-8", is_first=False).undecodable) for piece in pieces)
    if num_bad == 0:
        return "utf-8"
    num_other = sum(not line.isascii() for piece in pieces for line in piece.split(b"\n"))
    return "latin-1" if 2 * num_bad > num_other else "utf-8"


def _lines(pieces: Sequence[bytes], encoding: str) -> list[str]:
    lines: list[str] = []
    for piece in pieces:
        first = piece.removeprefix(UTF8_BOM).split(b"\n", SHAPE_LINES)[:SHAPE_LINES]
        lines += [line.removesuffix(b"\r").decode(encoding, errors="replace") for line in first]
    return [line for line in lines if line]


def _best_cut(name: str, lines: Sequence[str], least: int) -> _Cut:
    cuts = [_cut(separator, lines) for separator in SEPARATORS]
    fitting = [cut for cut in cuts if cut.num_fields >= least and cut.share >= LEAST_SHARE]
    # Interactions may have only a user and an item.
    pairs = [cut for cut in cuts if cut.num_fields == 2 < least and cut.share >= GOOD_SHARE]
    fitting = [*fitting, *(cut for cut in pairs if _has_known_names(cut, lines[0]))] or pairs
    if not fitting:
        shown = " ".join(SEPARATORS.values())
        raise DataError(
            f"{name} is not a recognizable table: none of the separators {shown} splits most of its lines into "
            f"the same number of fields, {least} or more"
        )
    # Blanks also separate words in a text column, so a header of known names outranks the number of fields.
    return max(
        fitting, key=lambda cut: (_has_known_names(cut, lines[0]), min(cut.share, GOOD_SHARE), cut.num_fields)
    )


def _has_known_names(cut: _Cut, line: str) -> bool:
    """Whether the first line, split in this way, has at least two known column names."""
    names = split_names(line, cut.separator, cut.quote, cut.escape)
    return len(names) == cut.num_fields and sum(map(is_known_name, names)) > 1


def _cut(separator: str, lines: Sequence[str]) -> _Cut:
    """Split by the separator, with a backslash escape if more lines fit with it."""
    cut = _cut_by(separator, None, lines)
    marks = (ESCAPE + QUOTE, ESCAPE + separator)
    if len(separator) > 1 or not any(mark in line for line in lines for mark in marks):
        return cut
    escaped = _cut_by(separator, ESCAPE, lines)
    return escaped if escaped.num_fitting > cut.num_fitting else cut


def _cut_by(separator: str, escape: str | None, lines: Sequence[str]) -> _Cut:
    quote = _quote(separator, lines)
    rows = [split_line(line, separator, quote, escape=escape) for line in lines]
    # Misquoted lines still count for the choice of the separator.
    cut = [line.split(separator) if row is None else row for row, line in zip(rows, lines, strict=True)]
    counts = Counter(map(len, cut))
    num_fields, num_lines = max(counts.items(), key=lambda counted: counted[::-1], default=(0, 0))
    return _Cut(separator, rows, num_fields, num_lines / max(len(lines), 1), quote, escape)


def _quote(separator: str, lines: Sequence[str]) -> str | None:
    """The quote, if it is customary with this separator or encloses a field of the sample."""
    if len(separator) > 1:
        return None
    if separator in ",;":
        return QUOTE
    sign = re.escape(separator)
    quoted = re.compile(f'(^|{sign})"[^"]*"({sign}|$)')
    return QUOTE if any(quoted.search(line) for line in lines) else None


def _header(cut: _Cut, line: str) -> tuple[str, ...] | None:
    """The first line, if it has no number, and has a known name or a word above a column of numbers."""
    first = split_names(line, cut.separator, cut.quote, cut.escape)
    rest = [row for row in cut.rows[1:] if row is not None and len(row) == cut.num_fields]
    if len(first) != cut.num_fields or any(map(_is_number, first)):
        return None
    is_above_numbers = any(all(_is_number(row[place]) for row in rest) for place in range(cut.num_fields))
    is_header = any(map(is_known_name, first)) or (bool(rest) and is_above_numbers)
    return tuple(first) if is_header else None


def _is_number(text: str) -> bool:
    return re.search(NUMBER, text) is not None
