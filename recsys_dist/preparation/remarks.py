"""Remarks on a prepared dataset for the summary of `prepare`: ids with several spellings, titles without a match.

They do not change the dataset. Ids are read batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.preparation.parsing.rejects import shorten
from recsys_dist.preparation.parsing.titles import Titles
from recsys_dist.preparation.spellings import find_spellings

FEW = 0.01
"""Fraction of matching ids below which the titles are assumed to belong to other items."""


def remarks(dataset: Dataset, titles: Titles | None) -> Iterator[str]:
    """Yield one sentence per remark; `titles` is None without titles files."""
    for side in SIDES:
        yield from _spellings(dataset, side)
    if titles is not None:
        yield from _unusable(titles)
        yield from _strangers(dataset, titles.table["item"])


def _spellings(dataset: Dataset, side: Side) -> Iterator[str]:
    found = find_spellings(lambda: (ids for _, ids in dataset.id_batches(side)))
    if found is not None:
        ids, are = ("id", "is") if found.num_ids == 1 else ("ids", "are")
        one, other = map(_quoted, found.example)
        yield (
            f"{found.num_ids:,} {side[:-1]} {ids} {are} spelled in more than one way, such as {one} and {other}; "
            f"the spellings are kept as different {side}"
        )


def _unusable(titles: Titles) -> Iterator[str]:
    count = titles.num_unusable
    if count:
        lines = "line" if count == 1 else "lines"
        yield (
            f"{count:,} {lines} of items.paths cannot be read, so their items have no title; the first is "
            f"{titles.first_unusable}"
        )


def _strangers(dataset: Dataset, told: pa.ChunkedArray) -> Iterator[str]:
    """Remark on titles that match (nearly) none of the rated items."""
    if not len(told):
        yield "no rated item has a title: the files of items.paths hold none"
        return
    told = pc.unique(told.drop_null())
    num_titled, stranger = 0, None
    for _, batch in dataset.id_batches("items"):
        ids = pc.cast(batch, told.type)
        is_told = pc.is_in(ids, value_set=told)
        num_titled += pc.sum(is_told).as_py() or 0
        others = ids.filter(pc.invert(is_told))
        stranger = others[0].as_py() if stranger is None and len(others) else stranger
    if stranger is None or num_titled >= FEW * min(dataset.num_items, len(told)):
        return
    how_many = f"only {num_titled:,} of {dataset.num_items:,} items" if num_titled else "no item"
    have = "have" if num_titled > 1 else "has"
    unused = told.filter(pc.invert(pc.is_in(told, value_set=pc.cast(dataset.ids("items"), told.type))))
    yield (
        f"{how_many} of the ratings {have} a title: ids in items.paths look like {_quoted(unused[0].as_py())}, "
        f"ids in the ratings like {_quoted(stranger)}"
    )


def _quoted(text: str) -> str:
    return repr(shorten(text))
