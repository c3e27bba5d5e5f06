"""The items that lists may contain: candidates, or all items but the excluded ones.

U users of a request, C candidates, V items that lists may contain, N pairs of a user and an item
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.inference.catalog import Catalog
from recsys_dist.inference.columns import Values
from recsys_dist.inference.ids import id_array
from recsys_dist.inference.seen import SeenPairs

Index = NDArray[np.int64]
ItemsOfUsers = Mapping[Any, Values]
"""User id -> the ids of this user's candidates."""


@dataclass(frozen=True)
class ItemChoice:
    """Which items the lists of a request may contain, by dense index."""

    item_C: Index | None = None
    """Candidates of all users, ascending and distinct; None: all items."""
    excluded: Index = field(default_factory=lambda: np.empty(0, np.int64))
    """Items of no list; none if there are candidates, which do not contain them."""
    own_U: Sequence[Index] | None = None
    """Candidates of each requested user; None: the same items for all."""

    @classmethod
    def of(cls, catalog: Catalog, items: Values | None, exclude: Values | None) -> ItemChoice:
        """The choice by raw ids. Raises `DataError` for unknown ids, `ConfigError` if no candidate is left."""
        excluded = np.unique(catalog.known("items", [] if exclude is None else exclude))
        if items is None:
            return cls(None, excluded)
        item_C = np.unique(catalog.known("items", items))
        if not len(item_C):
            raise ConfigError("the list of candidate items is empty; give an id, or no list for all items")
        item_C = np.setdiff1d(item_C, excluded, assume_unique=True)
        if not len(item_C):
            raise ConfigError("every candidate item is excluded, so nothing can be listed")
        return cls(item_C)

    @classmethod
    def of_users(
        cls, catalog: Catalog, user_ids: Sequence[str], items: ItemsOfUsers, exclude: Values | None
    ) -> ItemChoice:
        """Candidates of each user, by raw ids.

        Raises `DataError` for unknown ids, and `ConfigError` for a user without candidates.
        """
        excluded = cls.of(catalog, None, exclude).excluded
        given = dict(zip(id_array(list(items), "users of items").to_pylist(), items.values(), strict=True))
        texts = {user_id: catalog.item_ids.texts(given.get(user_id, [])) for user_id in dict.fromkeys(user_ids)}
        for user_id, mine in texts.items():
            if not mine:
                raise ConfigError(f"items has no candidates for user {user_id!r}; give this user at least one id")
        found = catalog.known("items", [text for mine in texts.values() for text in mine])
        parts = np.split(found, np.cumsum([len(mine) for mine in texts.values()])[:-1])
        own = dict(zip(texts, parts, strict=True))
        return cls(None, excluded, [own[user_id] for user_id in user_ids])

    def listed(self, num_items: int) -> Index:
        """Of `num_items` items those that lists may contain, ascending: [V]"""
        if self.item_C is not None:
            return self.item_C
        return np.setdiff1d(np.arange(num_items), self.excluded, assume_unique=True)

    def own_pairs(self, users: slice) -> SeenPairs | None:
        """Candidates of some of the requested users, by position among them; None if they have no own."""
        if self.own_U is None:
            return None
        mine = self.own_U[users]
        return np.repeat(np.arange(len(mine)), list(map(len, mine))), np.concatenate([*mine, self.excluded[:0]])

    def places(self, pairs: SeenPairs) -> SeenPairs:
        """Pairs with the place of each item among the candidates; pairs of other items are left out."""
        if self.item_C is None:
            return pairs
        position_N, item_N = pairs
        place_N = np.minimum(np.searchsorted(self.item_C, item_N), len(self.item_C) - 1)
        is_candidate_N = self.item_C[place_N] == item_N
        return position_N[is_candidate_N], place_N[is_candidate_N]


def choice_of(
    catalog: Catalog, user_ids: Sequence[str], items: Values | ItemsOfUsers | None, exclude: Values | None
) -> ItemChoice:
    """The choice for these users: the same candidates for all, or their own if `items` is a mapping."""
    if isinstance(items, Mapping):
        return ItemChoice.of_users(catalog, user_ids, items, exclude)
    return ItemChoice.of(catalog, items, exclude)
