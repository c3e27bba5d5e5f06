"""Timestamps into whole numbers: as they are, or ISO dates and times into seconds since 1970."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.data.input_config import TimestampFormat

WHOLE_NUMBER = r"^-?[0-9]+$"
SAFE_DIGITS = 18
"""So many digits always fit an int64."""
LONGEST_DIGITS = 64
ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z?)?$"
BELOW_SECONDS = r"([.][0-9]+)?Z?$"
SECONDS = pa.timestamp("s")


def parse_timestamps(
    column: pa.Array, text_format: TimestampFormat
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whole numbers, and which rows do not hold one; `text_format` says how texts are written."""
    if pa.types.is_integer(column.type):
        return pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy(), column.is_null().to_numpy(False)
    return _iso_seconds(column) if text_format == "iso" else _numbers(column)


def _numbers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
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


def _iso_seconds(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Seconds since 1970, and which rows hold no date; each distinct text is looked at once."""
    encoded = column.dictionary_encode()
    texts, place = encoded.dictionary, encoded.indices.to_numpy()
    is_iso = pc.match_substring_regex(texts, ISO)
    plain = pc.if_else(is_iso, pc.replace_substring_regex(texts, BELOW_SECONDS, ""), pa.scalar(None, pa.string()))
    try:
        moments = pc.cast(plain, SECONDS)
    except pa.ArrowInvalid:
        # One of them looks like a date and is none, as the 30th of February.
        moments = pa.array([_moment(text) for text in plain], SECONDS)
    is_bad = moments.is_null().to_numpy(zero_copy_only=False)
    return pc.fill_null(pc.cast(moments, pa.int64()), 0).to_numpy()[place], is_bad[place]


def _moment(text: pa.Scalar) -> pa.Scalar:
    try:
        return pc.cast(text, SECONDS)
    except pa.ArrowInvalid:
        return pa.scalar(None, SECONDS)
