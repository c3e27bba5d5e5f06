"""Parses ratings strictly. In: text. Out: columns of ids, numbers and lines, and rejected rows with their reasons.

All fields are read as text first. Ids stay text, exactly as in the file; ratings must be numbers in plain
notation. Ids are dictionary-encoded, so that the work per row is on integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.preparation.parsing.fields import cut_fields
from recsys_dist.preparation.parsing.json_lines.columns import cut_objects
from recsys_dist.preparation.parsing.json_lines.layout import JsonLayout
from recsys_dist.preparation.parsing.layout import TextLayout
from recsys_dist.preparation.parsing.lines import FINE, Lines
from recsys_dist.preparation.parsing.rejects import Reason, Rejects
from recsys_dist.preparation.parsing.timestamps import Moments, parse_timestamps
from recsys_dist.preparation.settings.input import TimestampFormat
from recsys_dist.preparation.settings.prepare import RatingRules

NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class Rows:
    """Accepted rows of one block, in line order."""

    user: pa.DictionaryArray
    item: pa.DictionaryArray
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64] | None
    """Whole units."""
    line: NDArray[np.int64]
    """Line in the block, from 1."""
    nanos: NDArray[np.int32] | None = None
    """Fraction of the timestamps in billionths of a unit; None if all are zero."""

    def __len__(self) -> int:
        return len(self.rating)


@dataclass(frozen=True)
class ParsedBlock:
    """The content of one input block. `num_lines` counts all lines, including blank ones and header."""

    rows: Rows
    rejects: Rejects
    num_lines: int
    item_below: str | None = None
    """With item lines, the item of the rows after the block; None if unknown."""

    @property
    def num_read(self) -> int:
        """Number of rows read: accepted and rejected."""
        return len(self.rows) + len(self.rejects)


def parse_text(
    data: bytes,
    layout: TextLayout | JsonLayout,
    rules: RatingRules,
    is_first: bool,
    item_above: str | None = None,
    timestamp_format: TimestampFormat = "number",
) -> ParsedBlock:
    """Parse a block of whole lines; `is_first` if it begins the file.

    With item lines, `item_above` is the item of the block's first rows.
    """
    lines = Lines.of(data, layout.encoding, is_first)
    if isinstance(layout, JsonLayout):
        fields = cut_objects(lines, layout)
    else:
        fields = cut_fields(lines, layout, is_first, item_above)
    rows, refused, reasons = check_rows(fields.columns, fields.line, rules, timestamp_format)
    bad_lines = np.concatenate([fields.refused, refused])
    bad_reasons = np.concatenate([fields.refused_for, reasons])
    rejects = Rejects.of(
        (int(line) + 1, int(reason), lines.text(line)) for line, reason in zip(bad_lines, bad_reasons, strict=True)
    )
    return ParsedBlock(rows, rejects, len(lines), fields.item_below)


def check_rows(
    columns: dict[str, pa.Array],
    line: NDArray[np.int64],
    rules: RatingRules,
    timestamp_format: TimestampFormat = "number",
) -> tuple[Rows, NDArray[np.int64], NDArray[np.int8]]:
    """Return the accepted rows, and the lines (from 0) and reasons of the others.

    Without a column `rating`, each row is an interaction of value 1.
    """
    reasons = np.full(len(line), FINE, np.int8)
    # Later checks overwrite earlier ones, so they run in order of increasing priority.
    moments = None
    if "timestamp" in columns:
        moments, is_bad = parse_timestamps(columns["timestamp"], timestamp_format)
        reasons[moments.is_out_of_range] = Reason.TIME_RANGE
        reasons[is_bad] = Reason.TIMESTAMP if timestamp_format == "number" else Reason.DATE
    rating = _per_row(columns["rating"], _numbers) if "rating" in columns else np.ones(len(line), np.float32)
    if rules.min is not None or rules.max is not None:
        low, high = rules.min, rules.max
        outside = (rating < (-np.inf if low is None else low)) | (rating > (np.inf if high is None else high))
        reasons[outside] = Reason.OUT_OF_RANGE
    reasons[~np.isfinite(rating)] = Reason.NOT_A_NUMBER
    for field, reason in (("item", Reason.EMPTY_ITEM), ("user", Reason.EMPTY_USER)):
        if _is_empty(columns[field].dictionary).any():
            reasons[_per_row(columns[field], _is_empty)] = reason
    if (reasons == FINE).all():
        return _rows(columns["user"], columns["item"], rating, moments, line), line[:0], reasons[:0]
    good, bad = np.flatnonzero(reasons == FINE), np.flatnonzero(reasons != FINE)
    user, item = columns["user"].take(pa.array(good)), columns["item"].take(pa.array(good))
    moments = moments.take(good) if moments is not None else None
    return _rows(user, item, rating[good], moments, line[good]), line[bad], reasons[bad]


def _rows(
    user: pa.DictionaryArray,
    item: pa.DictionaryArray,
    rating: NDArray[np.float32],
    moments: Moments | None,
    line: NDArray[np.int64],
) -> Rows:
    """Build rows from columns whose `line` counts from 0."""
    if moments is None:
        return Rows(user, item, rating, None, line + 1)
    return Rows(user, item, rating, moments.whole, line + 1, moments.nanos)


def _per_row(column: pa.DictionaryArray, judge: Callable[[pa.Array], NDArray[Any]]) -> NDArray[Any]:
    """Apply `judge` once to each distinct value, and expand the results to rows."""
    rows: NDArray[Any] = judge(column.dictionary)[column.indices.to_numpy()]
    return rows


def _is_empty(texts: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False), bool)


def _numbers(texts: pa.Array) -> NDArray[np.float32]:
    """Parse texts in plain notation; NaN for all others, infinite if too large for float32."""
    is_number = pc.match_substring_regex(texts, NUMBER)
    values = pc.cast(pc.if_else(is_number, texts, "nan"), pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)
