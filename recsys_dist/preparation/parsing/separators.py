"""Separators of text files, and the suspicion that a file has another one than its settings say."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

SEPARATORS = {"::": "::", "\t": "tab", ",": ",", ";": ";", "|": "|", " ": "blank"}
"""Separators to try, in order of preference, and their names in messages."""
TAB = "\t"


def other_separator(key: str, given: str, line: str, fits: Callable[[Sequence[str]], bool]) -> str:
    """The end of an error about a line that lacks fields: a separator whose fields `fits`, and how to set it.

    `key` is the settings' key of the file, such as `input`. Empty if no separator fits.
    """
    found = next((sign for sign in SEPARATORS if sign != given and fits(line.split(sign))), None)
    if found is None:
        return ""
    value = found.replace(TAB, r"\t")
    return f"; the separator seems to be '{SEPARATORS[found]}': set {shlex.quote(f'{key}.separator={value}')}"
