"""Splits a block of text into UTF-8 lines, and rejects lines before they are split into fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES
from recsys_dist.preparation.parsing.layout import UTF8_BOM
from recsys_dist.preparation.parsing.rejects import Reason, shorten

NEWLINE, CARRIAGE_RETURN = 10, 13
FINE = -1
"""The code of a row that is not rejected."""


@dataclass(frozen=True)
class Lines:
    """The lines of a block as UTF-8, with CRLF replaced by LF: line i is data[starts[i] : stops[i]]."""

    data: bytes
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    undecodable: NDArray[np.int64]
    """Lines that are not valid in the file's encoding."""

    @classmethod
    def of(cls, data: bytes, encoding: str, is_first: bool) -> Lines:
        """Split a block that begins at the start of a line; `is_first` if it begins the file."""
        if is_first and encoding == "utf-8":
            data = data.removeprefix(UTF8_BOM)
        data = data.replace(b"\r\n", b"\n") if b"\r\n" in data else data
        undecodable = np.zeros(0, np.int64)
        if not data.isascii():
            data, undecodable = _to_utf8(data, encoding)
        line_ends = np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE)
        if data and not data.endswith(b"\n"):
            line_ends = np.append(line_ends, len(data))
        starts = np.concatenate([[0], line_ends[:-1] + 1]) if len(line_ends) else line_ends
        return cls(data, starts, line_ends, undecodable)

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, line: int) -> str:
        """A line for messages: shortened, invalid bytes escaped."""
        data = self.data[self.starts[line] : self.stops[line]]
        return shorten(data[: 4 * MAX_LINE_BYTES].decode("utf-8", errors="backslashreplace"))

    def text_of(self, line: int) -> str:
        """A whole line; bytes that are not UTF-8 are replaced."""
        return self.data[self.starts[line] : self.stops[line]].decode("utf-8", errors="replace")

    @cached_property
    def is_blank(self) -> NDArray[np.bool_]:
        """Whether each line is empty."""
        return np.equal(self.starts, self.stops)

    def refusals(self) -> NDArray[np.int8]:
        """The reason to reject each line before it is split into fields, or FINE."""
        reasons = np.full(len(self), FINE, np.int8)
        reasons[self.undecodable] = Reason.ENCODING
        for byte, reason in ((b"\r", Reason.CARRIAGE_RETURN), (b"\0", Reason.NUL)):
            if byte in self.data:
                places = np.flatnonzero(np.frombuffer(self.data, np.uint8) == byte[0])
                reasons[np.searchsorted(self.stops, places)] = reason
        reasons[self.stops - self.starts > MAX_LINE_BYTES] = Reason.LINE_LENGTH
        return reasons

    def holding(self, text: bytes) -> NDArray[np.bool_]:
        """Whether each line contains `text`, which must not be a line end."""
        if len(text) == 1:
            places = np.flatnonzero(np.frombuffer(self.data, np.uint8) == text[0])
        else:
            places = np.array([match.start() for match in re.finditer(re.escape(text), self.data)], np.int64)
        first = np.append(places, len(self.data))[np.searchsorted(places, self.starts)]
        is_holding: NDArray[np.bool_] = first < self.stops
        return is_holding

    def select(self, wanted: NDArray[np.bool_]) -> bytes:
        """The bytes of the wanted lines, each with its line end."""
        edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0))
        runs = zip(edges[::2], edges[1::2] - 1, strict=True)
        pieces = [self.data[self.starts[first] : self.stops[last] + 1] for first, last in runs]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _to_utf8(data: bytes, encoding: str) -> tuple[bytes, NDArray[np.int64]]:
    """Convert lines to UTF-8; lines that cannot be decoded stay unchanged and are returned by number."""
    try:
        text = data.decode(encoding)
        return (data if encoding == "utf-8" else text.encode()), np.zeros(0, np.int64)
    except UnicodeDecodeError:
        lines = data.split(b"\n")
    undecodable = []
    for number, line in enumerate(lines):
        try:
            lines[number] = line.decode(encoding).encode()
        except UnicodeDecodeError:
            undecodable.append(number)
    return b"\n".join(lines), np.array(undecodable, np.int64)
