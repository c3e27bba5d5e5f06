"""The part of a model that does not depend on its family: ids, titles, train ratings, rating range, cold rows."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import RatingStats, Side
from recsys_dist.errors import DataError
from recsys_dist.inference.columns import Values
from recsys_dist.inference.grid import RatingGrid
from recsys_dist.inference.ids import IdIndex, id_array
from recsys_dist.inference.seen import TrainRatings
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.manifest import WITHOUT_USERS

NAMED_IDS = 10
"""Unknown ids that an error names."""


class Catalog:
    """The users and items of a model folder."""

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.url = folder.folder.url
        self.rating: RatingStats = folder.manifest.rating
        """Range and mean of the train ratings."""
        self.user_ids = IdIndex(folder.ids("users"), "user_ids")
        self.item_ids = IdIndex(folder.ids("items"), "item_ids")
        self.train_ratings = TrainRatings(folder)

    @property
    def titles(self) -> pa.StringArray:
        """Item titles, null where unknown; position = item index."""
        return self.folder.titles

    @property
    def num_items(self) -> int:
        """I, also the index of an unknown item."""
        return len(self.item_ids)

    def known(self, side: Side, ids: Values) -> NDArray[np.int64]:
        """Dense index of each raw id: [n]. Raises `DataError` naming the ids that the model does not know."""
        index = self.user_ids if side == "users" else self.item_ids
        texts = id_array(ids, f"{side[:-1]}_ids")
        row_N = index.find(texts)
        unknown = texts.take(pa.array(np.flatnonzero(row_N == len(index)))).unique().to_pylist()
        if unknown:
            named = ", ".join(map(repr, unknown[:NAMED_IDS]))
            more = f" and {len(unknown) - NAMED_IDS:,} more" if len(unknown) > NAMED_IDS else ""
            raise DataError(f"unknown {side[:-1]} {named}{more}: {self.url} {self._known_ids(side, len(index))}")
        return row_N

    def _known_ids(self, side: Side, num_ids: int) -> str:
        if side == "users" and self.folder.manifest.provenance.split_fingerprint == WITHOUT_USERS:
            return "was exported without users; it makes lists from ratings or titles (fold_in, recommend --like)"
        return f"was trained on {num_ids:,} other {side}; ids must match those of the data exactly"

    @cached_property
    def grid(self) -> RatingGrid | None:
        """The distinct train ratings; None if there are too many, or none. Reads all train ratings once."""
        return RatingGrid.read(self.folder)

    def is_cold(self, side: Side) -> NDArray[np.bool_]:
        """Whether each row has no train rating; the last entry, for unknown ids, is true: [rows + 1]"""
        return np.append(self.folder.num_train(side) == 0, True)

    def describe(self, item_N: NDArray[np.int64]) -> tuple[list[str], list[str | None]]:
        """Raw ids and titles of items."""
        return self.item_ids.take(item_N), self.titles.take(pa.array(item_N)).to_pylist()
