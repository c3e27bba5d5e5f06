"""Finds quote and escape errors in a block: the grammar of quoted_line.py, vectorized over all lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_dist.preparation.parsing.lines import FINE, NEWLINE, Lines
from recsys_dist.preparation.parsing.rejects import Reason

Selection = slice | NDArray[np.bool_]


def misquoted(lines: Lines, separator: str, quote: str | None, escape: str | None) -> NDArray[np.int8]:
    """The reason to reject each line for its quotes or escapes, or FINE.

    Separator, quote and escape are single ASCII characters. A block without quotes and escapes costs only a search
    for each.
    """
    reasons = np.full(len(lines), FINE, np.int8)
    data = np.frombuffer(lines.data, np.uint8)
    is_text = None
    if escape is not None and escape.encode() in lines.data:
        escapes = _escapes(np.flatnonzero(data == ord(escape)))
        at_end = np.isin(escapes + 1, lines.stops)
        is_text = np.zeros(len(data) + 1, bool)
        is_text[escapes[~at_end] + 1] = True
        reasons[np.searchsorted(lines.stops, escapes[at_end])] = Reason.ESCAPE
    if quote is not None and quote.encode() in lines.data:
        places = np.flatnonzero(data == ord(quote))
        places = places if is_text is None else places[~is_text[places]]
        if len(places):
            refused = _misplaced(data, places, is_text, lines, separator)
            reasons = np.where(reasons == FINE, refused, reasons)
    return reasons


def _escapes(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """The active escapes: in a run of escapes, every second one is literal."""
    number = np.arange(len(places))
    is_first = np.diff(places, prepend=-2) != 1
    first = np.maximum.accumulate(np.where(is_first, number, 0))
    acting: NDArray[np.intp] = places[(number - first) % 2 == 0]
    return acting


def _misplaced(
    data: NDArray[np.uint8],
    places: NDArray[np.intp],
    is_text: NDArray[np.bool_] | None,
    lines: Lines,
    separator: str,
) -> NDArray[np.int8]:
    """Check each quote by its neighbours: quotes of a line open and close in turn."""
    num_above = np.searchsorted(places, lines.starts)
    num_quotes = np.diff(num_above, append=len(places))
    is_open = num_quotes % 2 == 1
    opening: Selection = slice(0, None, 2)
    closing: Selection = slice(1, None, 2)
    if is_open.any():
        is_closing = (np.arange(len(places)) - np.repeat(num_above, num_quotes)) % 2 == 1
        opening, closing = ~is_closing, is_closing
    opens, closes = places[opening], places[closing]
    is_edge = np.zeros(256, bool)
    is_edge[[NEWLINE, ord(separator)]] = True
    before = is_edge[data[opens - 1]]
    after = is_edge[data.take(closes + 1, mode="clip")]
    if is_text is not None:
        before &= ~is_text[opens - 1]
    before[:1] |= opens[:1] == 0
    after[-1:] |= closes[-1:] == len(data) - 1
    # Two adjacent quotes are a doubled one: the field closes and opens again.
    is_doubled = np.diff(places, prepend=-2, append=-2) == 1
    before |= is_doubled[:-1][opening]
    after |= is_doubled[1:][closing]
    reasons = np.where(is_open, np.int8(Reason.QUOTE), np.int8(FINE))
    for quotes, is_right in ((opens, before), (closes, after)):
        reasons[np.searchsorted(lines.stops, quotes[~is_right])] = Reason.STRAY_QUOTE
    return reasons
