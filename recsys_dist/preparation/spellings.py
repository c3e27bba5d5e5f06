"""Finds ids that differ only in the spelling of a number or in surrounding blanks.

They count as different ids, but often another program has converted one id to a number and back: `1` and `1.0`,
`007` and `7`, `100000` and `1e+05`.
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
"""A fast prefilter: matches every text that differs from its usual form, and few others."""
WHOLE, EXPONENT = r"^[+]?(-?)0*([0-9]+?)(?:[.]0*)?$", r"([+-]?)([0-9])(?:[.]([0-9]+))?[eE][+]([0-9]{1,2})"


@dataclass(frozen=True)
class Spellings:
    """Ids with several spellings."""

    num_ids: int
    """Number of ids with more than one spelling."""
    example: tuple[str, str]
    """Two spellings of the first such id."""


def find_spellings(batches: Callable[[], Iterable[pa.StringArray]]) -> Spellings | None:
    """Find ids with several spellings in batches of unique ids; None if there are none.

    Only ids of an unusual form are held in memory. Without any, the batches are read only once.
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
    """Strip surrounding blanks; write whole numbers without plus sign, leading zeros, point and exponent."""
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
