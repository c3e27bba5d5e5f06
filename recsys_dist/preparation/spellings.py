"""Ids that spell one number, or one text but for blanks around it, in several ways.

They are different ids, as every text is; mostly they come of one id that a program wrote as a number on the way:
`1` and `1.0`, `007` and `7`, `100000` and `1e+05`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

BLANKS = " \t"
UNUSUAL = (
    r"^(?:[ \t].*|.*[ \t]|[+][0-9]+|-0|-?0[0-9]+|[+-]?[0-9]+[.]0*|[+-]?[0-9](?:[.][0-9]+)?[eE][+][0-9]{1,2})$"
)
"""A cheap look that finds all texts but their usual form, and few others."""
WHOLE, EXPONENT = r"^[+]?(-?)0*([0-9]+?)(?:[.]0*)?$", r"([+-]?)([0-9])(?:[.]([0-9]+))?[eE][+]([0-9]{1,2})"


@dataclass(frozen=True)
class Spellings:
    """What was found."""

    num_ids: int
    """Those that are written in two ways or more."""
    example: tuple[str, str]
    """Two of the ways in which the first of them is written."""


def find_spellings(batches: Callable[[], Iterable[pa.StringArray]]) -> Spellings | None:
    """Look for them among ids, each of which comes once in the batches; None where there are none.

    Memory is taken by the ids of an unusual form alone; without any, the batches are asked for once.
    """
    unusual = pa.concat_arrays([_unusual(ids) for ids in batches()] or [pa.array([], pa.string())])
    if not len(unusual):
        return None
    forms = usual_forms(unusual)
    plain = list(_among(batches(), pc.unique(forms)))
    table = pa.table({"form": pa.concat_arrays([forms, *plain]), "text": pa.concat_arrays([unusual, *plain])})
    counts = table.group_by("form", use_threads=False).aggregate([("text", "count")])
    several = counts.filter(pc.greater(counts["text_count"], 1))["form"]
    if not len(several):
        return None
    form = pc.min(several)
    first = table.filter(pc.equal(table["form"], form))["text"].to_pylist()
    one, other, *_ = sorted(first, key=lambda text: (text != form.as_py(), len(text), text))
    return Spellings(len(several), (one, other))


def _unusual(ids: pa.StringArray) -> pa.StringArray:
    looked_at = ids.filter(pc.match_substring_regex(ids, UNUSUAL))
    return looked_at.filter(pc.not_equal(looked_at, usual_forms(looked_at)))


def _among(batches: Iterable[pa.StringArray], forms: pa.StringArray) -> Iterator[pa.StringArray]:
    for ids in batches:
        yield ids.filter(pc.is_in(ids, value_set=forms))


def usual_forms(texts: pa.StringArray) -> pa.StringArray:
    """Each text without blanks around it, a whole number without sign plus, zeros in front, point and exponent."""
    trimmed = pc.ascii_trim(texts, BLANKS)
    whole = pc.replace_substring_regex(trimmed, WHOLE, r"\1\2")
    whole = pc.if_else(pc.equal(whole, "-0"), "0", whole)
    has_exponent = pc.match_substring_regex(whole, f"^{EXPONENT}$")
    if not pc.any(has_exponent, min_count=0).as_py():
        return whole
    return pa.array([_without_exponent(text) for text in whole.to_pylist()], pa.string())


def _without_exponent(text: str) -> str:
    found = re.fullmatch(EXPONENT, text)
    if found is None:
        return text
    sign, first, fraction = found[1].removeprefix("+"), found[2], found[3] or ""
    places = int(found[4])
    if fraction[places:].strip("0"):
        return text
    digits = (first + fraction[:places].ljust(places, "0")).lstrip("0")
    return sign + digits if digits else "0"
