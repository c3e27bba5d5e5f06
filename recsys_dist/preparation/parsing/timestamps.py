"""Parses timestamps into whole units and billionths: numbers unchanged, dates and times as seconds since 1970.

In: text, or a Parquet column of a suitable type. Out: `Moments`. The unit of dates and times is a second; the unit
of numbers is that of their file, by convention also seconds. Digits below a billionth are truncated.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.preparation.settings.input import TimestampFormat

WHOLE_NUMBER = r"^[+-]?[0-9]+$"
DECIMAL_NUMBER = r"^(?P<sign>[+-]?)(?P<whole>[0-9]{1,18})(?:[.](?P<digits>[0-9]*))?$"
ANY_NUMBER = re.compile(r"[+-]?[0-9]+([.][0-9]*)?([eE][+-]?[0-9]{1,3})?")
SAFE_DIGITS = 18
"""Numbers of this many digits always fit into int64."""
LONGEST_NUMBER = 64
DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
OFFSET = r"(?:Z|UTC|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)"
ISO = rf"^{DATE}(?:[T ]{TIME}(?:[.,][0-9]+)?(?: ?{OFFSET})?)?$"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
CTIME = (
    rf"^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?P<month>{'|'.join(MONTHS)}) (?P<day>[ 0-3]?[0-9]) (?P<time>{TIME})"
    rf"(?: (?P<offset>{OFFSET}))? (?P<year>[0-9]{{4}})$"
)
"""Times such as Thu Mar 22 18:57:54 -0700 2018."""
DATE_AND_TIME = 19
"""Characters of a date and time up to the seconds."""
BELOW = r"^(?:[.,](?P<digits>[0-9]+))? ?(?:Z|UTC|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?)?$"
"""The part after the seconds: fraction and offset."""
SECONDS = pa.timestamp("s")
NANO_DIGITS = 9
BILLION = 10**NANO_DIGITS
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": BILLION}
"""Ticks per second of each unit."""


@dataclass(frozen=True)
class Moments:
    """N timestamps: whole units, rounded down, and the rest in billionths of a unit."""

    whole: NDArray[np.int64]
    nanos: NDArray[np.int32] | None = None
    """None if all are zero."""

    @classmethod
    def of(cls, whole: NDArray[np.int64], nanos: NDArray[np.integer]) -> Moments:
        """Build from both parts; `nanos` may be all zero."""
        return cls(whole, nanos.astype(np.int32) if nanos.any() else None)

    def take(self, places: NDArray[np.int64]) -> Moments:
        """Select timestamps by position."""
        if self.nanos is None:
            return Moments(self.whole[places])
        return Moments.of(self.whole[places], self.nanos[places])

    @property
    def ticks(self) -> int:
        """The fewest ticks per unit that represent all of them exactly: 1, 1,000, a million or a billion."""
        if self.nanos is None:
            return 1
        nanos = self.nanos
        ticks: int = next(ticks for ticks in TICKS.values() if not np.any(nanos % (BILLION // ticks)))
        return ticks

    @property
    def span(self) -> tuple[int, int] | None:
        """The smallest and the largest in whole units; None if empty."""
        return (int(self.whole.min()), int(self.whole.max())) if len(self.whole) else None

    def fits(self, ticks: int) -> NDArray[np.bool_]:
        """Whether each fits into 64 bits at `ticks` per unit."""
        limit = 2**63 // ticks - 1
        is_fit: NDArray[np.bool_] = (self.whole >= -limit) & (self.whole < limit)
        return is_fit if ticks > 1 else np.ones(len(self.whole), bool)

    @property
    def is_out_of_range(self) -> NDArray[np.bool_]:
        """Whether each needs ticks at which it does not fit into 64 bits."""
        is_out = np.zeros(len(self.whole), bool)
        if self.nanos is not None:
            for coarser, ticks in itertools.pairwise(TICKS.values()):
                is_out |= (self.nanos % (BILLION // coarser) != 0) & ~self.fits(ticks)
        return is_out

    def in_ticks(self, ticks: int) -> NDArray[np.int64]:
        """Convert to `ticks` per unit. Raises `OverflowError` with the position of the first that is too large."""
        if ticks == 1:
            assert self.nanos is None, "fractions need more than one tick per unit"
            return self.whole
        too_large = np.flatnonzero(~self.fits(ticks))
        if len(too_large):
            raise OverflowError(int(too_large[0]))
        parts: NDArray[np.int64] = self.whole.astype(np.int64) * ticks
        return parts if self.nanos is None else parts + self.nanos // (BILLION // ticks)


def tells_moments(kind: pa.DataType) -> bool:
    """Whether timestamps can be read from a Parquet column of this type."""
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(is_number or is_text or pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def parse_timestamps(column: pa.Array, text_format: TimestampFormat) -> tuple[Moments, NDArray[np.bool_]]:
    """The timestamps of a column, and whether each row is invalid; `text_format` is the format of text."""
    kind = column.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return Moments(pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()), column.is_null().to_numpy(False)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _instants(column), column.is_null().to_numpy(False)
    if pa.types.is_floating(kind):
        return _floats(column)
    texts = pc.fill_null(pc.cast(column, pa.string()), "")
    is_number = pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    if is_number or text_format == "number":
        return _numbers(texts)
    return _dates(_as_iso(texts) if text_format == "ctime" else texts)


def _instants(column: pa.Array) -> Moments:
    """Convert Parquet dates and times, which are stored in UTC; those without a zone are taken as UTC."""
    if pa.types.is_date(column.type):
        column = pc.cast(column, SECONDS, safe=False)
    count = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()
    ticks = TICKS[column.type.unit]
    if ticks == 1:
        return Moments(count)
    whole, rest = np.divmod(count, ticks)
    return Moments.of(whole, rest * (BILLION // ticks))


def _floats(column: pa.Array) -> tuple[Moments, NDArray[np.bool_]]:
    """Convert whole numbers exactly, others by their shortest decimal representation."""
    values = pc.fill_null(pc.cast(column, pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    is_whole = (np.floor(values) == values) & (np.abs(values) < 2.0**63)
    whole, nanos, is_bad = np.zeros(len(values), np.int64), np.zeros(len(values), np.int32), ~is_whole
    whole[is_whole] = values[is_whole].astype(np.int64)
    rest = np.flatnonzero(~is_whole)
    texts = pc.fill_null(pc.cast(column.take(pa.array(rest)), pa.string()), "")
    moments, is_bad[rest] = _numbers(texts)
    whole[rest] = moments.whole
    nanos[rest] = 0 if moments.nanos is None else moments.nanos
    return Moments.of(whole, nanos), is_bad


def _numbers(column: pa.StringArray) -> tuple[Moments, NDArray[np.bool_]]:
    is_short = pc.less_equal(pc.binary_length(column), SAFE_DIGITS)
    is_good = pc.and_(pc.ascii_is_decimal(column), is_short)
    if pc.all(is_good, min_count=0).as_py():
        return Moments(pc.cast(column, pa.int64()).to_numpy()), np.zeros(len(column), bool)
    return _decimals(column)


def _decimals(column: pa.StringArray) -> tuple[Moments, NDArray[np.bool_]]:
    """Parse plain decimals vectorized, and each distinct other text, such as with an exponent, in Python."""
    parts = pc.extract_regex(column, DECIMAL_NUMBER)
    is_plain = parts.is_valid().to_numpy(zero_copy_only=False)
    size = pc.cast(pc.if_else(pa.array(is_plain), parts.field("whole"), "0"), pa.int64()).to_numpy()
    below = _nanos(parts.field("digits"))
    is_negative = pc.equal(parts.field("sign"), "-").to_numpy(zero_copy_only=False)
    # -1.25 is stored as -2 + 0.75.
    whole = np.where(is_negative, -size - (below > 0), size)
    nanos = np.where(is_negative & (below > 0), BILLION - below, below)
    odd = column.filter(pa.array(~is_plain)).dictionary_encode()
    values = [_any_number(text) for text in odd.dictionary.to_pylist()]
    place = odd.indices.to_numpy()
    whole[~is_plain] = np.array([value[0] if value else 0 for value in values], np.int64)[place]
    nanos[~is_plain] = np.array([value[1] if value else 0 for value in values], np.int64)[place]
    is_bad = ~is_plain
    is_bad[~is_plain] = np.array([value is None for value in values], bool)[place]
    return Moments.of(whole, nanos), is_bad


def _any_number(text: str) -> tuple[int, int] | None:
    """Parse a number to whole units and billionths; None if it is invalid or does not fit into 64 bits."""
    if len(text) > LONGEST_NUMBER or ANY_NUMBER.fullmatch(text) is None:
        return None
    value = Fraction(text)
    whole = math.floor(value)
    return (whole, math.floor((value - whole) * BILLION)) if -(2**63) <= whole < 2**63 else None


def _nanos(digits: pa.StringArray) -> NDArray[np.int64]:
    """Billionths from the digits after the point, if any."""
    first = pc.utf8_slice_codeunits(digits, 0, NANO_DIGITS)
    count: NDArray[np.int64] = pc.cast(pc.utf8_rpad(first, NANO_DIGITS, "0"), pa.int64()).to_numpy()
    return count


def _dates(column: pa.StringArray) -> tuple[Moments, NDArray[np.bool_]]:
    """Parse dates and times, in UTC unless they have an offset; each distinct text is parsed once."""
    encoded = column.dictionary_encode()
    texts, place = encoded.dictionary, encoded.indices.to_numpy()
    is_good = pc.match_substring_regex(texts, ISO).to_numpy(zero_copy_only=False)
    is_good[is_good] = _is_on_calendar(texts.filter(pa.array(is_good)))
    good = texts.filter(pa.array(is_good))
    whole, nanos = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    seconds = pc.cast(pc.utf8_slice_codeunits(good, 0, DATE_AND_TIME), SECONDS)
    offset, nanos[is_good] = _below_seconds(pc.utf8_slice_codeunits(good, DATE_AND_TIME))
    whole[is_good] = pc.cast(seconds, pa.int64()).to_numpy() - offset
    return Moments.of(whole[place], nanos[place]), ~is_good[place]


def _as_iso(texts: pa.StringArray) -> pa.StringArray:
    """Times in the layout of `CTIME` as ISO 8601; other texts become empty."""
    encoded = texts.dictionary_encode()
    parts = pc.extract_regex(encoded.dictionary, CTIME)
    number = pc.add(pc.index_in(parts.field("month"), value_set=pa.array(MONTHS)), 1)
    month, day = (
        pc.utf8_lpad(pc.utf8_trim_whitespace(pc.cast(part, pa.string())), 2, "0")
        for part in (number, parts.field("day"))
    )
    date = pc.binary_join_element_wise(parts.field("year"), month, day, "-")
    moment = pc.binary_join_element_wise(date, parts.field("time"), "T")
    whole = pc.binary_join_element_wise(moment, parts.field("offset"), "")
    return pc.fill_null(whole, "").take(encoded.indices)


def _is_on_calendar(dates: pa.StringArray) -> NDArray[np.bool_]:
    """Whether each date exists, given its month's number of days."""
    year, month, day = (
        pc.cast(pc.utf8_slice_codeunits(dates, start, stop), pa.int32()).to_numpy()
        for start, stop in ((0, 4), (5, 7), (8, 10))
    )
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    num_days = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")
    is_on: NDArray[np.bool_] = day <= num_days.astype(np.int64)
    return is_on


def _below_seconds(tails: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The UTC offset in seconds and the nanoseconds, from the parts after the seconds."""
    encoded = tails.dictionary_encode()
    parts = pc.extract_regex(encoded.dictionary, BELOW)
    hours, minutes = (
        pc.cast(pc.utf8_rpad(parts.field(name), 2, "0"), pa.int64()).to_numpy() for name in ("hours", "minutes")
    )
    size = 3600 * hours + 60 * minutes
    offset = np.where(pc.equal(parts.field("sign"), "-").to_numpy(zero_copy_only=False), -size, size)
    place = encoded.indices.to_numpy()
    return offset[place], _nanos(parts.field("digits"))[place]
