"""The settings of input files: their format, and the columns of ratings and titles."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from recsys_dist.config import Settings
from recsys_dist.preparation.settings.paths import Paths
from recsys_dist.sizes import Size

FileFormat = Literal["auto", "csv", "parquet", "json"]
TimestampFormat = Literal["number", "iso", "ctime"]
Column = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]


class FileSettings(Settings):
    """The format of a text file; ignored for Parquet. Of JSON Lines only the encoding can differ."""

    format: FileFormat = "auto"
    """`auto` decides by the name: .parquet and .pq are Parquet; .json, .jsonl and .ndjson are JSON Lines, one
    object a line; all else is text. Files ending in .gz, .bz2 or .zst are unpacked, and each member of a .zip is
    a file."""
    separator: str = Field(default=",", min_length=1, max_length=8)
    """One or more characters between the fields."""
    quote: str | None = Field(default='"', min_length=1, max_length=1)
    """The character that may enclose a field and is doubled inside it; null: none, as always with a separator of
    several characters. A line with this character anywhere else is rejected."""
    escape: str | None = Field(default=None, min_length=1, max_length=1)
    """The character that makes the next one literal, such as the backslash in MySQL exports; null: none."""
    header: bool = True
    """Whether the first line of each file holds the column names."""
    encoding: str = "utf-8"
    """An encoding that contains ASCII, such as utf-8 or latin-1."""
    max_bytes: Size | None = Field(default=16 << 30, ge=1)
    """Maximum unpacked size of a compressed file or archive; a larger one, which may be a decompression bomb, is
    refused. null: no limit."""

    @field_validator("separator", "quote", "escape")
    @classmethod
    def _leaves_lines_whole(cls, text: str | None) -> str | None:
        if text is not None and any(sign in text for sign in "\r\n\0"):
            raise ValueError("must not contain a line end or NUL")
        return text

    @field_validator("encoding")
    @classmethod
    def _contains_ascii(cls, encoding: str) -> str:
        try:
            name = codecs.lookup(encoding).name
            matches = all(bytes([code]).decode(name) == chr(code) for code in range(128))
        except (LookupError, UnicodeError, ValueError):
            matches = False
        if not matches:
            raise ValueError(f"{encoding!r} is not an encoding that contains ASCII, such as utf-8 or latin-1")
        return name

    @model_validator(mode="after")
    def _quote_goes_with_separator(self) -> FileSettings:
        is_given = "quote" in self.model_fields_set and self.quote is not None
        if is_given and (not self._may_quote or self.quote == self.separator):
            raise ValueError("quote needs a separator that is one different ASCII character; set quote to null")
        return self

    @model_validator(mode="after")
    def _escape_is_a_sign_of_its_own(self) -> FileSettings:
        if self.escape is None:
            return self
        signs = {self.separator, self.escape, self.quote}
        if not (self._is_one_sign and self.escape.isascii()) or len(signs) < 3:
            raise ValueError(
                "escape must be an ASCII character other than separator and quote, and needs a one-character "
                "ASCII separator"
            )
        return self

    @property
    def has_item_lines(self) -> bool:
        """Whether separate lines name the item of the rows below them."""
        return False

    @property
    def field_limit(self) -> int | None:
        """Maximum number of fields, the last of which keeps further separators; None: no maximum."""
        return None

    @property
    def _is_one_sign(self) -> bool:
        return len(self.separator) == 1 and self.separator.isascii()

    @property
    def _may_quote(self) -> bool:
        return self._is_one_sign and (self.quote or "").isascii()

    @property
    def quote_sign(self) -> str | None:
        """The effective quote character."""
        return self.quote if self._may_quote else None


class RatingColumns(Settings):
    """The columns of a rating: names with a header, else positions from 0.

    In JSON Lines a name is a key; dots lead into objects, as in `user.id`, unless a key has that very name.
    A name may also be the key of a folder on the path, such as `year` in `year=2020/ratings.csv`; a column of that
    name in the file takes precedence.
    """

    user: Column
    """The user's id."""
    item: Column | None = None
    """null only with `layout: netflix`."""
    rating: Column | None
    """null: each row is an interaction, of value 1, and models that need ratings cannot be trained on it."""
    timestamp: Column | None = None
    """Numbers, by convention seconds since 1970, or dates; null: the files have no timestamps."""


class InputSettings(FileSettings):
    """The rating files."""

    paths: Paths = ()
    """Files, folders (all files below, except names that begin with . or _), archives, one file of an archive as
    archive.zip/name, globs, or URLs of any of these. Empty files in a folder or archive or from a glob are
    skipped. Delta, Iceberg, Hudi and Paimon tables are refused. With `split.kind: files`, `split` names the files
    instead."""
    layout: Literal["plain", "netflix"] = "plain"
    """`plain`: a line is a rating. `netflix`: a line `ITEM:` names the item of the lines below it."""
    columns: RatingColumns
    timestamp_format: TimestampFormat = "number"
    """`number`: numbers such as 1126051199 or 1126051199.5, kept unchanged. `iso`: dates such as 2005-09-06, or
    dates and times such as 2005-09-06 23:59:59.5 (or T instead of the blank), with an offset such as Z or +02:00
    if not in UTC. They become seconds since 1970; a date becomes its midnight. Parquet dates and times become the
    same. `ctime`: times such as Thu Mar 22 18:57:54 -0700 2018, in UTC without the offset; the weekday is not
    checked. Fractions are kept: a dataset stores its timestamps in units, thousandths, millionths or billionths,
    the coarsest that is exact. `split.test_from` and `valid_from` are in units in any case."""
    block_bytes: Size = Field(default=32 << 20, ge=1 << 8, le=1 << 30)
    """Bytes of input that one task parses; for Parquet at most a million rows, if the row groups allow it. Memory
    per worker is about ten times as much."""

    @model_validator(mode="after")
    def _columns_fit_header(self) -> InputSettings:
        _check_columns(self, dict(self.columns), "columns")
        return self

    @property
    def has_item_lines(self) -> bool:
        """Whether separate lines name the item of the rows below them."""
        return self.layout == "netflix"

    @model_validator(mode="after")
    def _names_items_once(self) -> InputSettings:
        if self.layout == "plain" and self.columns.item is None:
            raise ValueError("columns.item is required, except with layout: netflix, where lines name the items")
        if self.layout == "netflix" and self.columns.item is not None:
            raise ValueError("columns.item cannot be set with layout: netflix, where lines name the items")
        if self.layout == "netflix" and (self.header or self.format in {"parquet", "json"}):
            raise ValueError("layout: netflix is for text without a header; set header to false")
        return self


class ItemColumns(Settings):
    """The columns of an item's id and title."""

    item: Column
    title: Column


class ItemsSettings(FileSettings):
    """The files with item titles."""

    paths: Paths = ()
    """As for input.paths; empty: no titles."""
    columns: ItemColumns
    max_fields: int | None = Field(default=None, ge=2)
    """Maximum number of fields in a line, the last of which keeps further separators: for titles with commas but
    without quotes. null: every line has the same number of fields."""

    @property
    def field_limit(self) -> int | None:
        """Maximum number of fields, the last of which keeps further separators; None: no maximum."""
        return self.max_fields

    @model_validator(mode="after")
    def _columns_fit_header(self) -> ItemsSettings:
        _check_columns(self, dict(self.columns), "columns")
        if self.max_fields is not None and (self.quote_sign, self.escape) != (None, None):
            raise ValueError("max_fields is for files without quotes and escapes; set quote and escape to null")
        return self


def _check_columns(settings: FileSettings, columns: dict[str, Column | None], key: str) -> None:
    given = {name: column for name, column in columns.items() if column is not None}
    if len(set(given.values())) < len(given):
        raise ValueError(f"{key} names the same column twice")
    if settings.format == "parquet":
        return
    if settings.format == "json":
        _check_names(given, key)
        return
    wanted, hint = (str, "header: true needs names") if settings.header else (int, "header: false needs positions")
    strangers = {name: column for name, column in given.items() if not isinstance(column, wanted)}
    # Among positions, a name may be a folder key; this is checked when the files are known.
    if strangers and (settings.header or len(strangers) == len(given)):
        name, column = next(iter(strangers.items()))
        raise ValueError(f"{key}.{name} is {column!r}, but {hint}")


def _check_names(columns: dict[str, Column], key: str) -> None:
    for name, column in columns.items():
        if not isinstance(column, str):
            raise ValueError(f"{key}.{name} is {column!r}, but format: json needs the name of a key")
