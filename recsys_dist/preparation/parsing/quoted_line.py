"""Splits one line into fields by separator, quote and escape.

A quote opens at the beginning of a field and closes at its end; inside the field it is doubled or escaped. An
escape makes the next character literal, inside and outside quotes.
"""

from __future__ import annotations

import re
from functools import cache


def split_quoted(line: str, separator: str, quote: str | None, escape: str | None) -> list[str] | None:
    """The fields of one line; None if `misquoted` rejects it."""
    pattern, mark = _grammar(separator, quote, escape)
    fields, place = [], 0
    while (field := pattern.match(line, place)) is not None:
        text = field["quoted"] if field["quoted"] is not None else field["plain"]
        fields.append(mark.sub(lambda found: found[0][1], text))
        if field.end() == len(line) and not field["end"]:
            return fields
        place = field.end()
    return None


@cache
def _grammar(separator: str, quote: str | None, escape: str | None) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of a field with the following separator, and of a doubled or escaped character in its text."""
    end, sign, mark = re.escape(separator), re.escape(quote or ""), re.escape(escape or "")
    escaped = rf"{mark}." if escape else r"(?!)"
    doubled = sign * 2 if quote else r"(?!)"
    quoted = (
        rf"{sign}(?P<quoted>(?:[^{sign}{mark}]|{doubled}|{escaped})*+){sign}" if quote else r"(?P<quoted>(?!))"
    )
    plain = rf"(?P<plain>(?:[^{end}{sign}{mark}]|{escaped})*+)"
    field = re.compile(rf"(?:{quoted}|{plain})(?P<end>{end}|\Z)", re.DOTALL)
    return field, re.compile(rf"{doubled}|{escaped}", re.DOTALL)
