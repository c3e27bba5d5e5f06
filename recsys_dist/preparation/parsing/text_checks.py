"""Applies the checks of text files to Parquet columns and folder names.

A value that no line of a text file could hold is rejected for the same reason as that line. In: text columns,
plain or dictionary-encoded, of arbitrary bytes. Out: a reason for each row, or FINE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES
from recsys_dist.preparation.parsing.lines import FINE
from recsys_dist.preparation.parsing.rejects import Reason

SIGNS = {b"\0": Reason.NUL, b"\r": Reason.CARRIAGE_RETURN, b"\n": Reason.LINE_FEED}
"""Bytes that no field may contain."""
NONE = np.iinfo(np.int8).max
"""Larger than all reasons, for taking the minimum of several."""


def refusals(columns: Sequence[pa.Array]) -> NDArray[np.int8]:
    """The reason to reject each row of the columns, or FINE; a null counts as empty text."""
    verdicts = [_reasons(_values(column)) for column in columns]
    longest = sum(int(_lengths(_values(column)).max(initial=0)) for column in columns)
    is_short = longest + len(columns) <= MAX_LINE_BYTES
    if is_short and all((verdict == NONE).all() for verdict in verdicts):
        return np.full(len(columns[0]), FINE, np.int8)
    # Lower reasons are checked earlier in a line, so the minimum over the fields applies.
    reasons = np.min([_per_row(column, codes) for column, codes in zip(columns, verdicts, strict=True)], axis=0)
    if not is_short:
        # The length of a line with these fields and their separators.
        lengths = [_per_row(column, _lengths(_values(column))) for column in columns]
        reasons[np.sum(lengths, axis=0) + len(columns) - 1 > MAX_LINE_BYTES] = Reason.LINE_LENGTH
    return np.where(reasons == NONE, FINE, reasons).astype(np.int8)


def readable(text: Any) -> str:
    """An Arrow scalar as text for messages, with invalid bytes escaped; a null becomes "None"."""
    if isinstance(text, pa.DictionaryScalar):
        text = text.value
    if pa.types.is_string(text.type) or pa.types.is_large_string(text.type):
        text = pc.cast(text, pa.large_binary())
    value = text.as_py()
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else str(value)


def is_utf8(texts: pa.Array) -> NDArray[np.bool_]:
    """Whether each text is valid UTF-8."""
    data = pc.cast(texts, pa.large_binary())
    try:
        pc.cast(data, pa.large_string())
    except pa.ArrowInvalid:
        return np.array([_is_utf8(text) for text in data.to_pylist()], bool)
    return np.ones(len(data), bool)


def _is_utf8(text: bytes | None) -> bool:
    try:
        (text or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _reasons(texts: pa.Array) -> NDArray[np.int8]:
    """The reason for each text, or NONE."""
    data = pc.fill_null(pc.cast(texts, pa.large_binary()), b"")
    reasons = np.full(len(data), NONE, np.int8)
    reasons[~is_utf8(data)] = Reason.ENCODING
    # For nearly all columns, one pass over the bytes shows that no search is needed.
    if _smallest_byte(data) <= max(map(max, SIGNS)):
        for sign, reason in SIGNS.items():
            reasons[_holding(data, sign) & (reasons > reason)] = reason
    return reasons


def _holding(data: pa.Array, sign: bytes) -> NDArray[np.bool_]:
    return np.asarray(pc.match_substring(data, sign).to_numpy(zero_copy_only=False), bool)


def _smallest_byte(data: pa.Array) -> int:
    content = data.buffers()[-1]
    return int(np.frombuffer(content, np.uint8).min(initial=0xFF)) if content is not None else 0xFF


def _lengths(texts: pa.Array) -> NDArray[np.int64]:
    lengths = pc.fill_null(pc.binary_length(pc.cast(texts, pa.large_binary())), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _values(column: pa.Array) -> pa.Array:
    return column.dictionary if pa.types.is_dictionary(column.type) else column


def _per_row(column: pa.Array, verdicts: NDArray[Any]) -> NDArray[Any]:
    """Expand verdicts on the values of a dictionary-encoded column to its rows."""
    return verdicts[column.indices.to_numpy()] if pa.types.is_dictionary(column.type) else verdicts
