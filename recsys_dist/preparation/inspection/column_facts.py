"""Facts about the values of one column: kind, number, smallest and largest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.preparation.parsing.rows import NUMBER
from recsys_dist.preparation.parsing.timestamps import CTIME, ISO, WHOLE_NUMBER

Kind = Literal["whole numbers", "decimals", "dates", "ctime dates", "decimal commas", "text", "empty"]
PATTERNS: dict[Kind, str] = {
    "whole numbers": WHOLE_NUMBER,
    "decimals": NUMBER,
    "dates": ISO,
    "ctime dates": CTIME,
    "decimal commas": r"^[+-]?[0-9]+(,[0-9]+)?$",
}
NUMBERS: tuple[Kind, ...] = ("whole numbers", "decimals", "decimal commas")
USUAL_SHARE = 0.95
"""Fraction of non-empty values that must match a kind, so that a few bad rows do not make a column text."""
NUM_EXAMPLES = 3


@dataclass(frozen=True)
class ColumnFacts:
    """One column of the sample."""

    position: int
    name: str | None
    """None if the file has no column names."""
    kind: Kind
    num_values: int
    """Number of non-empty values."""
    num_distinct: int
    smallest: str
    largest: str
    """Compared as numbers for kinds of numbers, else as text; empty if all values are empty."""
    examples: tuple[str, ...]

    @property
    def reference(self) -> int | str:
        """The column's name in the settings, or its position."""
        return self.position if self.name is None else self.name

    @property
    def span(self) -> tuple[float, float]:
        """Smallest and largest number; only for kinds of numbers."""
        return _number(self.smallest), _number(self.largest)


def describe(position: int, name: str | None, texts: pa.StringArray) -> ColumnFacts:
    """Describe a column, given as text; empty values are ignored."""
    counted = texts.filter(pc.greater(pc.binary_length(texts), 0)).value_counts()
    values, counts = counted.field("values"), counted.field("counts").to_numpy()
    kind = _kind(values, counts)
    distinct: list[str] = values.to_pylist()
    compared = distinct
    if kind in NUMBERS:
        compared = [text for text in distinct if re.search(PATTERNS[kind], text)]
    order: Callable[[str], float | str] = _number if kind in NUMBERS else str
    return ColumnFacts(
        position,
        name,
        kind,
        int(counts.sum()),
        len(distinct),
        min(compared, key=order, default=""),
        max(compared, key=order, default=""),
        _examples(distinct),
    )


def _kind(values: pa.StringArray, counts: NDArray[np.int64]) -> Kind:
    if not len(values):
        return "empty"
    for kind, pattern in PATTERNS.items():
        is_match = pc.match_substring_regex(values, pattern).to_numpy(zero_copy_only=False)
        if counts[is_match].sum() >= USUAL_SHARE * counts.sum():
            return kind
    return "text"


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _examples(distinct: Sequence[str]) -> tuple[str, ...]:
    return tuple(distinct[:NUM_EXAMPLES])
