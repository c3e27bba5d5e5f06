"""Strict parsing of ratings: text in, columns of ids, numbers and lines out, and each refused row with its reason.

All fields are read as text first. Ids stay text, exactly as they stand in the file; ratings and timestamps must be
numbers in plain notation. Ids are dictionary-encoded, so that the work per row is on integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.data.config import RatingRules
from recsys_dist.data.layout import Layout
from recsys_dist.data.lines import Lines, cut_fields
from recsys_dist.data.rejects import Reason, Rejects

NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"
WHOLE_NUMBER = r"^-?[0-9]+$"
SAFE_DIGITS = 18
"""So many digits always fit an int64."""
LONGEST_DIGITS = 64
_FINE = -1


@dataclass(frozen=True)
class Rows:
    """Accepted rows of one block, in the order of its lines."""

    user: pa.DictionaryArray
    item: pa.DictionaryArray
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64] | None
    line: NDArray[np.int64]
    """From 1 within the block."""

    def __len__(self) -> int:
        return len(self.rating)


@dataclass(frozen=True)
class ParsedBlock:
    """What one block of the input holds. `num_lines` counts blank ones and the header as well."""

    rows: Rows
    rejects: Rejects
    num_lines: int

    @property
    def num_read(self) -> int:
        """Rows read: kept for now, or refused."""
        return len(self.rows) + len(self.rejects)


def parse_text(data: bytes, layout: Layout, rules: RatingRules, is_first: bool) -> ParsedBlock:
    """Parse a block of whole lines; `is_first` where it begins the file."""
    lines = Lines.of(data, layout.encoding, is_first)
    fields = cut_fields(lines, layout, is_first)
    rows, refused, reasons = check_rows(fields.columns, fields.line, rules)
    bad_lines = np.concatenate([fields.refused, refused])
    bad_reasons = np.concatenate([fields.refused_for, reasons])
    rejects = Rejects.of(
        (int(line) + 1, int(reason), lines.text(line)) for line, reason in zip(bad_lines, bad_reasons, strict=True)
    )
    return ParsedBlock(rows, rejects, len(lines))


def check_rows(
    columns: dict[str, pa.Array], line: NDArray[np.int64], rules: RatingRules
) -> tuple[Rows, NDArray[np.int64], NDArray[np.int8]]:
    """Accepted rows, and the lines (from 0) and reasons of the others."""
    reasons = np.full(len(line), _FINE, np.int8)
    # The later a check, the weaker: where several apply, the first one's reason stands.
    timestamp = None
    if "timestamp" in columns:
        timestamp, is_bad = _timestamps(columns["timestamp"])
        reasons[is_bad] = Reason.TIMESTAMP
    rating = _per_row(columns["rating"], _numbers)
    if rules.min is not None or rules.max is not None:
        low, high = rules.min, rules.max
        outside = (rating < (-np.inf if low is None else low)) | (rating > (np.inf if high is None else high))
        reasons[outside] = Reason.OUT_OF_RANGE
    reasons[~np.isfinite(rating)] = Reason.NOT_A_NUMBER
    reasons[_per_row(columns["item"], _is_empty)] = Reason.EMPTY_ITEM
    reasons[_per_row(columns["user"], _is_empty)] = Reason.EMPTY_USER
    if (reasons == _FINE).all():
        return Rows(columns["user"], columns["item"], rating, timestamp, line + 1), line[:0], reasons[:0]
    good, bad = np.flatnonzero(reasons == _FINE), np.flatnonzero(reasons != _FINE)
    user, item = columns["user"].take(pa.array(good)), columns["item"].take(pa.array(good))
    timestamp = timestamp[good] if timestamp is not None else None
    return Rows(user, item, rating[good], timestamp, line[good] + 1), line[bad], reasons[bad]


def _per_row(column: pa.DictionaryArray, judge: Callable[[pa.Array], NDArray[Any]]) -> NDArray[Any]:
    """Judge each distinct value once, and hand the verdicts out to the rows."""
    rows: NDArray[Any] = judge(column.dictionary)[column.indices.to_numpy()]
    return rows


def _is_empty(texts: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False), bool)


def _numbers(texts: pa.Array) -> NDArray[np.float32]:
    """The numbers that texts spell in plain notation; NaN for all others and for what float32 cannot hold."""
    is_number = pc.match_substring_regex(texts, NUMBER)
    values = pc.cast(pc.if_else(is_number, texts, "nan"), pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)


def _timestamps(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whole numbers, and which rows do not hold one."""
    if pa.types.is_integer(column.type):
        return pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy(), column.is_null().to_numpy(False)
    is_short = pc.less_equal(pc.binary_length(column), SAFE_DIGITS)
    is_good = pc.and_(pc.ascii_is_decimal(column), is_short)
    if pc.all(is_good, min_count=0).as_py():
        return pc.cast(column, pa.int64()).to_numpy(), np.zeros(len(column), bool)
    texts, is_bad = _whole_numbers(column)
    return pc.cast(texts, pa.int64()).to_numpy(), is_bad


def _whole_numbers(texts: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Texts with "0" in place of what is not a whole number of 64 bits, and where that is."""
    is_whole = pc.match_substring_regex(texts, WHOLE_NUMBER).to_pylist()
    fits = [whole and _fits_int64(text) for whole, text in zip(is_whole, texts.to_pylist(), strict=True)]
    return pc.if_else(pa.array(fits, pa.bool_()), texts, "0"), ~np.array(fits, bool)


def _fits_int64(digits: str) -> bool:
    return len(digits) <= LONGEST_DIGITS and -(2**63) <= int(digits) < 2**63
