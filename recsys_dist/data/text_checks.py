"""The checks of a text file for texts from elsewhere: columns of Parquet, names of folders.

What no line of a text file could hold is refused here for the reason that the line would be. In: columns of texts,
plain or dictionary-encoded, of any bytes. Out: a reason for each row, or FINE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.data.lines import FINE
from recsys_dist.data.rejects import Reason
from recsys_dist.data.sources import MAX_LINE_BYTES


def refusals(columns: Sequence[pa.Array]) -> NDArray[np.int8]:
    """The reason that each row of several columns is refused for; a null passes as an empty text."""
    # The lower a reason, the earlier it is checked in a line: the first that applies to any field stands.
    reasons = np.min([_per_row(column, _reasons) for column in columns], axis=0)
    longest = sum(int(_lengths(_values(column)).max(initial=0)) for column in columns)
    if longest + len(columns) > MAX_LINE_BYTES:
        # As long as the line of these fields and their separators would be.
        num_bytes = np.sum([_per_row(column, _lengths) for column in columns], axis=0) + len(columns) - 1
        reasons[num_bytes > MAX_LINE_BYTES] = Reason.LINE_LENGTH
    return np.where(reasons == len(Reason), FINE, reasons).astype(np.int8)


def readable(text: Any) -> str:
    """An Arrow scalar of texts or numbers as people may read it, whatever bytes it holds; a null is None."""
    if isinstance(text, pa.DictionaryScalar):
        text = text.value
    if pa.types.is_string(text.type) or pa.types.is_large_string(text.type):
        text = pc.cast(text, pa.large_binary())
    value = text.as_py()
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else str(value)


def is_utf8(texts: pa.Array) -> NDArray[np.bool_]:
    """Which texts are UTF-8."""
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


def _reasons(texts: pa.Array) -> NDArray[np.int64]:
    """The reason for each text, and the number of reasons where there is none."""
    data = pc.fill_null(pc.cast(texts, pa.large_binary()), b"")
    reasons = np.full(len(data), len(Reason))
    reasons[_holding(data, b"\n")] = Reason.LINE_FEED
    reasons[~is_utf8(data)] = Reason.ENCODING
    reasons[_holding(data, b"\r")] = Reason.CARRIAGE_RETURN
    reasons[_holding(data, b"\0")] = Reason.NUL
    return reasons


def _holding(data: pa.Array, sign: bytes) -> NDArray[np.bool_]:
    return np.asarray(pc.match_substring(data, sign).to_numpy(zero_copy_only=False), bool)


def _lengths(texts: pa.Array) -> NDArray[np.int64]:
    lengths = pc.fill_null(pc.binary_length(pc.cast(texts, pa.large_binary())), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _values(column: pa.Array) -> pa.Array:
    return column.dictionary if pa.types.is_dictionary(column.type) else column


def _per_row(column: pa.Array, judge: Callable[[pa.Array], NDArray[Any]]) -> NDArray[Any]:
    """Judge each distinct value once, where they are told apart."""
    verdicts = judge(_values(column))
    return verdicts[column.indices.to_numpy()] if pa.types.is_dictionary(column.type) else verdicts
