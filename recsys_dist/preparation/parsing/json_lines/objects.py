"""Decodes one line of JSON into the texts of the wanted fields, by Python's decoder: exact, and slow.

Numbers stay the text of the line, so that ids keep all their digits. The fast path in columns.py gives the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from recsys_dist.preparation.parsing.rejects import Reason

Path = tuple[str, ...]
"""The keys that lead from a line's object to a value."""
FieldKind = Literal["id", "number", "title"]
"""How a value becomes text: `number` is a rating or timestamp, which is checked later."""
MAX_KEY_DEPTH = 16
"""Objects within each other whose keys are listed."""


class Whole(str):
    """The digits of a whole number."""

    __slots__ = ()


class Real(str):
    """The text of any other number, NaN and infinity included."""

    __slots__ = ()


class Repeating(dict[str, Any]):
    """An object with keys that occur more than once."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = {name for name in names if names.count(name) > 1}


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeating(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_as_object, parse_int=Whole, parse_float=Real, parse_constant=Real)


def decode(line: str) -> dict[str, Any] | None:
    """The object of a line; None if the line is anything else."""
    try:
        found = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def find(whole: dict[str, Any], path: Path) -> Any:
    """The value at a path; None if it is missing, `Reason.REPEATED_KEY` if one of its keys occurs twice."""
    found: Any = whole
    for key in path:
        if not isinstance(found, dict):
            return None
        if isinstance(found, Repeating) and key in found.repeated:
            return Reason.REPEATED_KEY
        found = found.get(key)
    return found


def field_text(value: Any, kind: FieldKind) -> str | Reason | None:
    """The text of a field, or the reason to reject its row; null and missing values are None."""
    if value is None or isinstance(value, Reason):
        return value
    is_text = isinstance(value, str)
    match kind:
        case "id":
            return str(value) if is_text and not isinstance(value, Real) else Reason.ID_TYPE
        case "title":
            return str(value) if is_text else Reason.TITLE_TYPE
    return str(value) if is_text else None


def texts_of(whole: dict[str, Any], paths: Mapping[str, tuple[Path, FieldKind]]) -> list[str | None] | Reason:
    """The texts of all fields of a line, or the first reason to reject it."""
    texts: list[str | None] = []
    for path, kind in paths.values():
        text = field_text(find(whole, path), kind)
        if isinstance(text, Reason):
            return text
        texts.append(text)
    return texts


def keys_of(whole: dict[str, Any], above: Path = ()) -> list[Path]:
    """The paths of all values of an object that are not objects themselves, or lie too deep."""
    found: list[Path] = []
    for key, value in whole.items():
        path = (*above, key)
        is_inner = isinstance(value, dict) and len(path) < MAX_KEY_DEPTH
        found += keys_of(value, path) if is_inner else [path]
    return found
