"""The settings of input files: how they are read, and where the fields of a rating or of a title are."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from recsys_dist.config import Settings
from recsys_dist.preparation.settings.paths import Paths
from recsys_dist.sizes import Size

FileFormat = Literal["auto", "csv", "parquet"]
TimestampFormat = Literal["number", "iso"]
Column = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]


class FileSettings(Settings):
    """How a text file is cut into fields. Parquet files carry this in themselves and ignore it."""

    format: FileFormat = "auto"
    """`auto` goes by the name: .parquet and .pq are Parquet, all else is text. Names that end in .gz, .bz2 or .zst
    are unpacked, and each member of a .zip is a file."""
    separator: str = Field(default=",", min_length=1, max_length=8)
    """One or more characters between the fields."""
    quote: str | None = Field(default='"', min_length=1, max_length=1)
    """The character that may enclose a field, doubled inside of it; null where none has that meaning, as always
    with a separator of several characters. Elsewhere in a field it makes the line unusable."""
    escape: str | None = Field(default=None, min_length=1, max_length=1)
    """The character that makes plain text of the next one, a quote or a separator, as the backslash of MySQL
    exports does; null: none."""
    header: bool = True
    """Whether the first line of each file names the columns."""
    encoding: str = "utf-8"
    max_bytes: Size | None = Field(default=16 << 30, ge=1)
    """A compressed file or archive that unpacks to more bytes is refused, as it may have been made to fill the
    disk; null: no limit."""

    @field_validator("separator", "quote", "escape")
    @classmethod
    def _leaves_lines_whole(cls, text: str | None) -> str | None:
        if text is not None and any(sign in text for sign in "\r\n\0"):
            raise ValueError("must not hold a line end or NUL")
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
            raise ValueError("quote needs a separator of one other ASCII character; set quote to null")
        return self

    @model_validator(mode="after")
    def _escape_is_a_sign_of_its_own(self) -> FileSettings:
        if self.escape is None:
            return self
        signs = {self.separator, self.escape, self.quote}
        if not (self._is_one_sign and self.escape.isascii()) or len(signs) < 3:
            raise ValueError(
                "escape is an ASCII character that is neither separator nor quote, and needs a separator of one"
            )
        return self

    @property
    def has_item_lines(self) -> bool:
        """Whether lines of their own name the item of the rows below them."""
        return False

    @property
    def field_limit(self) -> int | None:
        """How many fields a line has at most, where the last one keeps further separators."""
        return None

    @property
    def _is_one_sign(self) -> bool:
        return len(self.separator) == 1 and self.separator.isascii()

    @property
    def _may_quote(self) -> bool:
        return self._is_one_sign and (self.quote or "").isascii()

    @property
    def quote_sign(self) -> str | None:
        """The quote character in force."""
        return self.quote if self._may_quote else None


class RatingColumns(Settings):
    """Where the fields of a rating are: names where there is a header, else positions from 0.

    A name may also be the key of folders on the path of the files, as `year` of `year=2020/ratings.csv`; a column
    of that name in the file itself comes first.
    """

    user: Column
    item: Column | None = None
    """null with `layout: netflix` alone."""
    rating: Column
    timestamp: Column | None = None
    """Numbers, by convention seconds since 1970, or dates; null where the files have none."""


class InputSettings(FileSettings):
    """The rating files."""

    paths: Paths = ()
    """Files, folders (all files below but those whose names begin with . or _), archives, one file of an archive
    as archive.zip/name, globs, URLs of any of these; what holds nothing in a folder, in an archive or of a glob is
    skipped. Tables of Delta, Iceberg, Hudi and Paimon are refused. With `split.kind: files` files are named there
    instead."""
    layout: Literal["plain", "netflix"] = "plain"
    """`plain`: a line is a rating. `netflix`: a line `ITEM:` names the item of the lines below it."""
    columns: RatingColumns
    timestamp_format: TimestampFormat = "number"
    """`number`: numbers such as 1126051199 or 1126051199.5, kept as they are. `iso`: dates as 2005-09-06, or with
    a time as 2005-09-06 23:59:59.5 (or T for the blank) and with the offset from UTC, such as Z or +02:00, if it
    is not UTC; they become seconds since 1970, a date its midnight. Dates and times of Parquet become the same.
    Digits behind the point count: a dataset keeps all of its timestamps in units, thousandths, millionths or
    billionths, the coarsest that holds them exactly; `split.test_from` and `valid_from` count units all the same.
    """
    block_bytes: Size = Field(default=32 << 20, ge=1 << 8, le=1 << 30)
    """Bytes of input that one task parses, and of Parquet a million rows at most where its row groups allow that;
    memory per worker is about ten times as much."""

    @model_validator(mode="after")
    def _columns_fit_header(self) -> InputSettings:
        _check_columns(self, dict(self.columns), "columns")
        return self

    @property
    def has_item_lines(self) -> bool:
        """Whether lines of their own name the item of the rows below them."""
        return self.layout == "netflix"

    @model_validator(mode="after")
    def _names_items_once(self) -> InputSettings:
        if self.layout == "plain" and self.columns.item is None:
            raise ValueError("columns.item is required, unless lines name the items (layout: netflix)")
        if self.layout == "netflix" and self.columns.item is not None:
            raise ValueError("columns.item has no place where lines name the items (layout: netflix)")
        if self.layout == "netflix" and (self.header or self.format == "parquet"):
            raise ValueError("layout: netflix is for text without a line of column names; set header to false")
        return self


class ItemColumns(Settings):
    """Where an item's id and title are."""

    item: Column
    title: Column


class ItemsSettings(FileSettings):
    """The files with the items' titles."""

    paths: Paths = ()
    """As in the input; none means no titles."""
    columns: ItemColumns
    max_fields: int | None = Field(default=None, ge=2)
    """Cut a line into so many fields at most, the last of which keeps further separators: for titles with commas
    and no quotes around them. null: every line has the same number of fields."""

    @property
    def field_limit(self) -> int | None:
        """How many fields a line has at most, where the last one keeps further separators."""
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
        raise ValueError(f"{key} names one column twice")
    if settings.format == "parquet":
        return
    wanted, hint = (str, "header: true needs names") if settings.header else (int, "header: false needs positions")
    strangers = {name: column for name, column in given.items() if not isinstance(column, wanted)}
    # Beside positions a name may be that of a folder, which is seen when the files are.
    if strangers and (settings.header or len(strangers) == len(given)):
        name, column = next(iter(strangers.items()))
        raise ValueError(f"{key}.{name} is {column!r}, but {hint}")
