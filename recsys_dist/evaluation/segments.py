"""Segments of users by activity, of items by popularity and of held-out ratings by value.

Users are cut so that each segment has about a quarter of them, items so that each has about a quarter of the train
ratings; users and items without a rating are a segment of their own. Equal numbers of ratings stay together.

R rows (users or items), S segments, V distinct numbers of ratings, N ratings
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.inference.catalog import Catalog

PARTS = 4
MOST_VALUES = 20
"""With more distinct ratings, ranges of ratings are the segments."""
VALUE_RANGES = 5


@dataclass(frozen=True)
class Segments:
    """Segments by number of ratings, ascending: `low` to `high` ratings each, both included.

    The first is the one of rows without a rating.
    """

    low_S: NDArray[np.int64]
    high_S: NDArray[np.int64]
    segment_R: NDArray[np.int64]
    """The segment of each row, and of an unknown one: [R + 1]"""

    def __len__(self) -> int:
        return len(self.low_S)

    @property
    def num_rows_S(self) -> NDArray[np.int64]:
        """Number of rows of each segment."""
        return np.bincount(self.segment_R[:-1], minlength=len(self))

    @classmethod
    def of_users(cls, num_known_R: NDArray[np.int64]) -> Segments:
        """Segments with about equal numbers of users; the last entry of `num_known_R` is an unknown user."""
        return cls._cut(num_known_R, np.minimum(num_known_R, 1))

    @classmethod
    def of_items(cls, num_train_R: NDArray[np.int64]) -> Segments:
        """Segments with about equal numbers of train ratings; the last entry is an unknown item."""
        return cls._cut(num_train_R, num_train_R)

    @classmethod
    def _cut(cls, count_R: NDArray[np.int64], weight_R: NDArray[np.int64]) -> Segments:
        value_V, place_R = np.unique(count_R, return_inverse=True)
        weight_V = np.bincount(place_R, weight_R, len(value_V))
        # A number of ratings belongs to the quarter that contains the middle of its rows' weight.
        middle_V = np.cumsum(weight_V) - weight_V / 2
        quarter_V = np.minimum(middle_V * PARTS / max(1.0, weight_V.sum()), PARTS - 1).astype(np.int64)
        quarter_V[value_V == 0] = -1
        _, first_S, segment_V = np.unique(quarter_V, return_index=True, return_inverse=True)
        last_S = np.append(first_S[1:], len(value_V)) - 1
        return cls(value_V[first_S], value_V[last_S], segment_V[place_R])


@dataclass(frozen=True)
class ValueSegments:
    """Segments by value: one for each distinct train rating, or ranges of equal width if there are many."""

    edges: NDArray[np.float64]
    """Between consecutive segments, ascending."""
    low_S: NDArray[np.float64]
    high_S: NDArray[np.float64]

    @classmethod
    def of(cls, catalog: Catalog) -> ValueSegments:
        """The segments of a model's ratings. Reads all train ratings once."""
        grid = catalog.grid
        if grid is not None and len(grid.values) <= MOST_VALUES:
            values = grid.values.astype(np.float64)
            return cls((values[1:] + values[:-1]) / 2, values, values)
        bounds = np.linspace(catalog.rating.min, catalog.rating.max, VALUE_RANGES + 1)
        return cls(bounds[1:-1], bounds[:-1], bounds[1:])

    def __len__(self) -> int:
        return len(self.low_S)

    def find(self, rating_N: NDArray[np.floating]) -> NDArray[np.int64]:
        """The segment of each rating; a rating between two values belongs to the nearer one: [N]"""
        return np.searchsorted(self.edges, rating_N, side="right").astype(np.int64)
