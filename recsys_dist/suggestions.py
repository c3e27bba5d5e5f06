"""The likely meaning of a mistyped word: a key, value, name of a column, file, folder or configuration."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LEAST_SIMILARITY = 0.7
"""Of difflib's ratio: two transposed or one missing letter of a short word, and no other word."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most similar to `word`, in any case and with `_` or `-`; None if none is similar."""
    spelled = {_plain(one): one for one in known}
    found = difflib.get_close_matches(_plain(word), spelled, n=1, cutoff=LEAST_SIMILARITY)
    return spelled[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown word, with the word that was probably meant; else empty."""
    meant = closest(word, known)
    return "" if meant is None else f"; did you mean {meant}?"


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
