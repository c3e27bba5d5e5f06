"""Determines how the lines of a file are split into fields, before any block is parsed.

With a header, columns are found by name. Without one, the number of fields is the most frequent one in a sample.
"""

from __future__ import annotations

import codecs
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.hive import folder_values, wanted_values
from recsys_dist.preparation.inputs.kinds import check_beginning
from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES, InputFile, first_bytes
from recsys_dist.preparation.parsing.quoted_line import split_quoted
from recsys_dist.preparation.parsing.separators import other_separator
from recsys_dist.preparation.settings.input import Column, FileSettings
from recsys_dist.suggestions import did_you_mean

SAMPLE_BYTES = 1 << 18
UTF8_BOM = codecs.BOM_UTF8


@dataclass(frozen=True)
class TextLayout:
    """The format of a text file's lines. `positions` maps each wanted field to its position from 0."""

    separator: str
    quote: str | None
    encoding: str
    has_header: bool
    num_fields: int
    positions: dict[str, int]
    has_item_lines: bool = False
    """Whether separate lines name the item of the rows below them."""
    max_fields: int | None = None
    """Maximum number of fields, the last of which keeps further separators; None: no maximum."""
    escape: str | None = None
    folder_values: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """Fields of all lines from folder names `KEY=VALUE` on the path."""

    def split(self, line: str) -> list[str] | None:
        """The fields of one line; None if its quotes or escapes are invalid."""
        return split_line(line, self.separator, self.quote, self.max_fields, self.escape)


def read_layout(
    file: InputFile, settings: FileSettings, columns: Mapping[str, Column | None], key: str
) -> TextLayout:
    """Determine the layout from the beginning of `file`. `key` is the settings' key, for errors.

    Raises `DataError` if the file is empty or lacks a wanted column.
    """
    lines = first_lines(file, settings.encoding)
    if settings.has_item_lines:
        lines = [line for line in lines if settings.separator in line]
    wanted = {name: column for name, column in columns.items() if column is not None}
    if settings.header:
        if "\r" in lines[0]:
            raise DataError(f"{file.name} line 1 contains a carriage return; lines must end in LF or CRLF")
        names = split_names(
            lines[0], settings.separator, settings.quote_sign, settings.escape, settings.field_limit
        )
        in_folders = wanted_values(file, wanted, names)
        in_lines = {name: column for name, column in wanted.items() if name not in in_folders}
        positions = _find(file, names, in_lines, key, lines[0], settings.separator)
        num_fields = len(names)
    else:
        num_fields = _usual_fields(lines, settings)
        in_folders = wanted_values(file, wanted, ())
        positions = _positions(file, {name: wanted[name] for name in wanted if name not in in_folders}, key)
        for name, position in positions.items():
            if position >= num_fields:
                hint = other_separator(
                    key, settings.separator, lines[0], lambda fields: len(fields) > max(positions.values())
                )
                noun = "field" if num_fields == 1 else "fields"
                raise DataError(
                    f"{key}.columns.{name} is position {position} from 0, but the lines of {file.name} "
                    f"have {num_fields} {noun} between separators {settings.separator!r}{hint}"
                )
    return TextLayout(
        settings.separator,
        settings.quote_sign,
        settings.encoding,
        settings.header,
        num_fields,
        positions,
        settings.has_item_lines,
        settings.field_limit,
        settings.escape,
        in_folders,
    )


def split_line(
    line: str, separator: str, quote: str | None, max_fields: int | None = None, escape: str | None = None
) -> list[str] | None:
    """The fields of one line; None if its quotes or escapes are invalid. `max_fields` excludes both."""
    # Longer lines are rejected in any case.
    line = line[:MAX_LINE_BYTES]
    if any(sign is not None and sign in line for sign in (quote, escape)):
        return split_quoted(line, separator, quote, escape)
    return line.split(separator, -1 if max_fields is None else max_fields - 1)


def split_names(
    line: str, separator: str, quote: str | None, escape: str | None = None, max_fields: int | None = None
) -> list[str]:
    """The column names in a header line; misplaced quotes become part of a name."""
    fields = split_line(line, separator, quote, max_fields, escape)
    return fields if fields is not None else line.split(separator)


def _split(line: str, settings: FileSettings) -> list[str] | None:
    return split_line(line, settings.separator, settings.quote_sign, settings.field_limit, settings.escape)


def first_lines(file: InputFile, encoding: str) -> list[str]:
    """The lines at the beginning of a file. Raises `DataError` if it is empty, or visibly of another format."""
    data = first_bytes(file, SAMPLE_BYTES)
    is_whole = len(data) < SAMPLE_BYTES
    check_beginning(file, data)
    if encoding == "utf-8":
        data = data.removeprefix(UTF8_BOM)
    if not data.strip():
        raise DataError(f"{file.name} is empty")
    lines = data.split(b"\n")
    if not is_whole:
        lines = lines[:-1] or [data[:MAX_LINE_BYTES]]
    return [line.removesuffix(b"\r").decode(encoding, errors="replace") for line in lines]


def _usual_fields(lines: list[str], settings: FileSettings) -> int:
    """The most frequent number of fields; the largest if several are equally frequent."""
    cut = (_split(line, settings) for line in lines if line)
    counts = Counter(len(fields) for fields in cut if fields is not None)
    if not counts:
        # All lines will be rejected for their quotes, a clearer reason than the number of fields.
        counts = Counter(len(line.split(settings.separator)) for line in lines if line)
    return max(counts, key=lambda num_fields: (counts[num_fields], num_fields), default=1)


def _find(
    file: InputFile, names: list[str], wanted: Mapping[str, Column], key: str, heading: str, separator: str
) -> dict[str, int]:
    positions = {}
    for field, column in wanted.items():
        if names.count(str(column)) != 1:
            problem = "more than one column" if column in names else "no column"
            shown = ", ".join([*names, *folder_values(file)])[:200]
            raise DataError(
                f"{key}.columns.{field}: {file.name} has {problem} {column!r}; its header is: {shown}"
                + _meant(names, wanted, str(column), key, heading, separator)
            )
        positions[field] = names.index(str(column))
    return positions


def _meant(
    names: list[str], wanted: Mapping[str, Column], column: str, key: str, heading: str, separator: str
) -> str:
    """The end of the error about a missing column: another separator of the header, or a similar name."""
    if column in names:
        return ""
    columns = {str(one).lower() for one in wanted.values()}

    def fits(fields: Sequence[str]) -> bool:
        found = {field.strip('"').lower() for field in fields}
        return columns <= found or (len(names) == 1 and len(fields) >= len(columns))

    return other_separator(key, separator, heading, fits) or did_you_mean(column, names)


def _positions(file: InputFile, wanted: Mapping[str, Column], key: str) -> dict[str, int]:
    """The positions of columns in lines without a header."""
    positions = {}
    for name, column in wanted.items():
        if isinstance(column, str):
            raise DataError(
                f"{key}.columns.{name} is {column!r}, but header: false needs positions, and the path of "
                f"{file.name} has no folder {column}=..."
            )
        positions[name] = column
    return positions
