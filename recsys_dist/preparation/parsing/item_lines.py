"""Files in which a line names the item of the rows below it, as in the Netflix prize.

    123:
    1488844,3,2005-09-06
    822109,5,2005-05-13

A line without a separator must be an item line, which ends in a colon. If it is not, or if a damaged line may hide
an item line, the item of the following rows is unknown; they are rejected up to the next item line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.preparation.inputs.sources import InputFile, read_blocks
from recsys_dist.preparation.parsing.layout import TextLayout
from recsys_dist.preparation.parsing.lines import FINE, Lines
from recsys_dist.preparation.parsing.rejects import Reason

NAME_END = ":"
HIDING = (Reason.LINE_LENGTH, Reason.NUL, Reason.CARRIAGE_RETURN)
"""Faults of a line that may contain several lines."""
SCAN_BYTES = 1 << 20


@dataclass(frozen=True)
class ItemLines:
    """The item lines of a block, and damaged lines that may hide one."""

    above: NDArray[np.int64]
    """For each line, the position in `items` of the last item line up to and including it."""
    is_name: NDArray[np.bool_]
    """Whether each line is a valid item line."""
    is_damaged: NDArray[np.bool_]
    """Whether each line is an invalid item line or may hide one."""
    items: list[str | None]
    """The item of the block's first rows, then those of its item lines; None if unknown."""

    @classmethod
    def of(cls, lines: Lines, reasons: NDArray[np.int8], separator: str, item_above: str | None) -> ItemLines:
        """Find the item lines; `reasons` holds reasons of lines already rejected."""
        is_single = ~lines.is_blank & ~lines.holding(separator.encode())
        is_suspect = is_single | np.isin(reasons, HIDING)
        places = np.flatnonzero(is_suspect)
        items = [_name(lines, place) if reasons[place] == FINE else None for place in places.tolist()]
        is_name = np.zeros(len(lines), bool)
        is_name[places] = [item is not None for item in items]
        return cls(np.cumsum(is_suspect), is_name, is_suspect & ~is_name, [item_above, *items])

    def refuse(self, is_row: NDArray[np.bool_], reasons: NDArray[np.int8]) -> None:
        """Reject damaged lines and rows with an unknown item, by setting `reasons`."""
        is_known = np.array([item is not None for item in self.items])[self.above]
        is_fine = is_row & (reasons == FINE)
        reasons[is_fine & self.is_damaged] = Reason.FIELD_COUNT
        reasons[is_fine & ~self.is_damaged & ~is_known] = Reason.ITEM_LINE

    def column(self, rows: NDArray[np.int64]) -> pa.DictionaryArray:
        """The items of valid rows, given as line numbers from 0."""
        names = pa.array([item or "" for item in self.items], pa.string()).dictionary_encode()
        places = names.indices.take(pa.array(self.above[rows]))
        return pa.DictionaryArray.from_arrays(places, names.dictionary)

    @property
    def below(self) -> str | None:
        """The item of the rows after the block; None if unknown."""
        return self.items[-1]


@dataclass(frozen=True)
class LastItem:
    """The last item line of a block; the item is None if the line is damaged."""

    item: str | None


def find_last_item(file: InputFile, layout: TextLayout, start: int, stop: int) -> LastItem | None:
    """The last item line that starts in a byte range, searched from the end."""
    for end in range(stop, start, -SCAN_BYTES):
        begin = max(start, end - SCAN_BYTES)
        for data in read_blocks(file, begin, end, SCAN_BYTES):
            lines = Lines.of(data, layout.encoding, is_first=begin == 0)
            found = ItemLines.of(lines, lines.refusals(), layout.separator, None)
            if len(found.items) > 1:
                return LastItem(found.below)
    return None


def _name(lines: Lines, place: int) -> str | None:
    text = lines.data[lines.starts[place] : lines.stops[place]].decode()
    return text.removesuffix(NAME_END) if text.endswith(NAME_END) else None
