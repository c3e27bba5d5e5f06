"""Text from files and command lines, made safe for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

SHOWN_THOUGH_NOT_PRINTABLE = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""str.isprintable refuses them, but words and emoji need them."""


def printable(text: str) -> str:
    """The text on one line, without control characters that a terminal would obey.

    Bytes of a file name that Python could not decode are read as UTF-8.
    """
    if not text.isascii():
        text = _without_surrogates(text)
    return "".join(char if _is_shown(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can encode the text: not with half of a surrogate pair, or with undecoded bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_table(rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Rows as an aligned table, the first row its head; the first `numbers` columns are right-aligned."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        cells = [
            cell.rjust(width) if place < numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _without_surrogates(text: str) -> str:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text


def _is_shown(char: str) -> bool:
    return char.isprintable() or char in SHOWN_THOUGH_NOT_PRINTABLE or unicodedata.category(char) == "Zs"
