"""Searches the items of a model by title: all that match, or the one that is meant."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.catalog import Catalog
from recsys_dist.inference.items.titles import FoundItems, Match, TitleIndex
from recsys_dist.inference.top import require_list_length

NAMED_TITLES = 10
"""Titles that an error names."""
NAMES = {Match.TITLE, Match.WORDS, Match.WITHOUT_YEAR}
"""Levels at which the text is the name of an item, not a part of it."""


class ItemSearch:
    """Finds items of a model by what a person types."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @cached_property
    def _index(self) -> TitleIndex:
        titles = self._catalog.titles
        if titles.null_count == len(titles):
            raise DataError(
                f"{self._catalog.url} has no titles; name items by their ids, or prepare the data with items.paths"
            )
        return TitleIndex(titles.to_pylist())

    def find(self, text: str, n: int) -> FoundItems:
        """The n items whose titles match best; without a match, the most similar titles.

        Raises `DataError` if the model has no titles, `ConfigError` for an empty text or an impossible n.
        """
        require_list_length(n)
        _require_text(text)
        items = [item for _, item in self._index.matches(text)[:n]]
        is_match = bool(items)
        items = items or self._index.similar(text, n)
        ids, titles = self._catalog.describe(np.array(items, np.int64))
        return FoundItems(ids, [str(title) for title in titles], is_match)

    def one(self, text: str) -> str:
        """The id of the item that is meant: the only one that matches as well as the best; or the id itself.

        An id counts unless it is the name of an item. Raises `DataError` naming up to ten items if several match
        equally well or none does.
        """
        _require_text(text)
        (index,) = self._catalog.item_ids.find([text])
        is_id = index < self._catalog.num_items
        if is_id and self._catalog.titles.null_count == self._catalog.num_items:
            return text
        matches = self._index.matches(text)
        best = [item for level, item in matches if level == matches[0][0]]
        if is_id and not (len(best) == 1 and matches[0][0] in NAMES):
            return text
        if len(best) == 1:
            return self._catalog.item_ids[best[0]]
        raise DataError(self._several(text, [item for _, item in matches]) if matches else self._none(text))

    def _several(self, text: str, items: Sequence[int]) -> str:
        more = f" and {len(items) - NAMED_TITLES:,} more" if len(items) > NAMED_TITLES else ""
        return f"{len(items):,} titles match {text!r}: {self._named(items)}{more}; give the whole title, or the id"

    def _none(self, text: str) -> str:
        similar = self._index.similar(text, NAMED_TITLES)
        return f"no title matches {text!r}" + (f"; the most similar are {self._named(similar)}" if similar else "")

    def _named(self, items: Sequence[int]) -> str:
        ids, titles = self._catalog.describe(np.array(items[:NAMED_TITLES], np.int64))
        return ", ".join(f"{title!r} (id {item_id})" for item_id, title in zip(ids, titles, strict=True))


def _require_text(text: str) -> None:
    """Raise `ConfigError` for anything but text with a sign in it."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{text!r} is not a title; give some words of it")
