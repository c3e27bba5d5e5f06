"""One line cut into fields by a loop over its characters: the readable reference of quotes and escapes."""

from __future__ import annotations

from recsys_dist.preparation.parsing.rejects import Reason


def fields_of(line: str, separator: str, quote: str | None, escape: str | None = None) -> list[str] | Reason:
    """The fields, or the reason that the line is refused for."""
    fields, field, state = [], "", "begin"
    signs = iter(line)
    for sign in signs:
        if state == "closing" and sign == quote:
            field, state = field + sign, "quoted"
        elif state == "closing" and sign != separator:
            return Reason.STRAY_QUOTE
        elif sign == escape:
            escaped = next(signs, None)
            if escaped is None:
                return Reason.ESCAPE
            field, state = field + escaped, "quoted" if state == "quoted" else "plain"
        elif state == "quoted":
            field, state = (field, "closing") if sign == quote else (field + sign, state)
        elif sign == separator:
            fields.append(field)
            field, state = "", "begin"
        elif sign == quote:
            if state == "plain":
                return Reason.STRAY_QUOTE
            state = "quoted"
        else:
            field, state = field + sign, "plain"
    return Reason.QUOTE if state == "quoted" else [*fields, field]
