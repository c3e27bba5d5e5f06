"""Rejected rows: line, reason and text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.preparation.arrays.scratch import Arrays, pack_texts, unpack_texts

SHOWN_CHARACTERS = 200


class Reason(IntEnum):
    """Why a row is rejected. If several reasons apply, the one checked first is recorded.

    The numbers are used only in intermediate files; new reasons go to the end.
    """

    LINE_LENGTH = 0
    NUL = 1
    CARRIAGE_RETURN = 2
    ENCODING = 3
    QUOTE = 4
    FIELD_COUNT = 5
    EMPTY_USER = 6
    EMPTY_ITEM = 7
    NOT_A_NUMBER = 8
    OUT_OF_RANGE = 9
    TIMESTAMP = 10
    DUPLICATE = 11
    HELD_OUT = 12
    ITEM_LINE = 13
    DATE = 14
    FEW_OF_USER = 15
    FEW_OF_ITEM = 16
    STRAY_QUOTE = 17
    ESCAPE = 18
    TIME_RANGE = 19
    LINE_FEED = 20
    ADDED_UP = 21
    NOT_AN_OBJECT = 22
    REPEATED_KEY = 23
    ID_TYPE = 24
    TITLE_TYPE = 25

    @property
    def label(self) -> str:
        """The text of the reason in the manifest and in rejects."""
        return _LABELS[self]


_LABELS = {
    Reason.LINE_LENGTH: "line too long",
    Reason.NUL: "NUL byte",
    Reason.CARRIAGE_RETURN: "carriage return inside a line",
    Reason.ENCODING: "not valid in the encoding",
    Reason.QUOTE: "quote not closed",
    Reason.FIELD_COUNT: "wrong number of fields",
    Reason.EMPTY_USER: "empty user id",
    Reason.EMPTY_ITEM: "empty item id",
    Reason.NOT_A_NUMBER: "rating is not a finite number",
    Reason.OUT_OF_RANGE: "rating out of range",
    Reason.TIMESTAMP: "timestamp is not a whole number",
    Reason.DUPLICATE: "duplicate",
    Reason.HELD_OUT: "pair is held out for testing or validation",
    Reason.ITEM_LINE: "no usable item line above",
    Reason.DATE: "timestamp is not a date",
    Reason.FEW_OF_USER: "too few ratings of the user",
    Reason.FEW_OF_ITEM: "too few ratings of the item",
    Reason.STRAY_QUOTE: "stray quote in a field",
    Reason.ESCAPE: "escape at the end of the line",
    Reason.TIME_RANGE: "timestamp out of range",
    Reason.LINE_FEED: "line feed inside a field",
    Reason.ADDED_UP: "added to another row of the pair",
    Reason.NOT_AN_OBJECT: "not a JSON object",
    Reason.REPEATED_KEY: "key occurs twice in an object",
    Reason.ID_TYPE: "id is neither text nor a whole number",
    Reason.TITLE_TYPE: "title is not text",
}


def shorten(text: str) -> str:
    """Cut a long text to its first characters."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


@dataclass(frozen=True)
class Rejects:
    """Rejected rows of one block or shard; `line` counts from 1 in a block, but is `Rows.origin` in a shard."""

    line: NDArray[np.int64]
    reason: NDArray[np.int8]
    text: pa.LargeStringArray

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, str]]) -> Rejects:
        """Build from tuples (line, reason, text), sorted."""
        ordered = sorted(rows)
        return cls(
            np.array([line for line, _, _ in ordered], np.int64),
            np.array([reason for _, reason, _ in ordered], np.int8),
            pa.array([text for _, _, text in ordered], pa.large_string()),
        )

    def __len__(self) -> int:
        return len(self.line)

    def counts(self) -> Counter[str]:
        """Number of rows by label of the reason."""
        codes, numbers = np.unique(self.reason, return_counts=True)
        return Counter({Reason(code).label: int(number) for code, number in zip(codes, numbers, strict=True)})

    def first(self) -> tuple[int, str, str] | None:
        """(line, label of the reason, text) of the first rejected row."""
        if len(self) == 0:
            return None
        return int(self.line[0]), Reason(int(self.reason[0])).label, self.text[0].as_py()

    def arrays(self) -> Arrays:
        """Encode as arrays to save."""
        return {"reject.line": self.line, "reject.reason": self.reason, **pack_texts("reject.text", self.text)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Rejects:
        """Decode the arrays of `arrays`."""
        return cls(arrays["reject.line"], arrays["reject.reason"], unpack_texts("reject.text", arrays))
