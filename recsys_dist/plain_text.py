"""Text from files and command lines as a terminal may show it."""

from __future__ import annotations

import unicodedata

SHOWN_THOUGH_NOT_PRINTABLE = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""str.isprintable refuses them, but words and emoji fall apart without."""


def printable(text: str) -> str:
    """One line without the control characters that a terminal would obey.

    Bytes of a file name that Python could not decode are read as UTF-8.
    """
    if not text.isascii():
        text = _without_surrogates(text)
    return "".join(sign if _is_shown(sign) else "\N{REPLACEMENT CHARACTER}" for sign in text)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can write it: not where it holds half of a surrogate pair, or bytes that were not decoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_surrogates(text: str) -> str:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text


def _is_shown(sign: str) -> bool:
    return sign.isprintable() or sign in SHOWN_THOUGH_NOT_PRINTABLE or unicodedata.category(sign) == "Zs"
