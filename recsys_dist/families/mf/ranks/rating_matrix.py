"""The ratings as a matrix factorization trains on them: one side stays, the other one travels.

A rank owns whole shards of the side that stays. Rows of the other side travel to all ranks in each epoch, and sums
for them travel back (exchange.py), at a cost in time and memory that grows with their number. Users stay and items
travel; a catalogue with far more items than users is trained the other way round.

The model is symmetric in its sides. The modules of training say users for the side that stays and items for the
one that travels; names of tables, of forms of the model and of messages are those of the data.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Manifest, Shard, Side
from recsys_dist.dataset.sharding import share_shards

FAR_MORE = 4
"""Items stay where they are so many times as many as users. Where both are about as many, a few new rows should
not change the order of the steps."""
ROW_RATINGS = 12
"""Ratings that cost as much as a row, as measured on two ranks with a long tail: each step of an epoch has its own
ratio."""
PIECE_ROWS = 1 << 15
"""Most rows of a shard of items. Shards of the dataset have equally many ratings, which puts most of the rows of a
long tail into the last one."""


def sides_of(manifest: Manifest, room: int | None = None) -> tuple[Side, Side]:
    """The side that stays, and the one that travels.

    `room`: the rows that a memory limit lets travel at once. Users travel all at once or not at all: in blocks,
    the sums of all the items that stay would take more memory than the blocks save.
    """
    users, items = SIDES
    fit = room is None or manifest.num_users <= room
    return (items, users) if fit and manifest.num_items >= FAR_MORE * manifest.num_users else (users, items)


@dataclass(frozen=True)
class Entries:
    """Some ratings as parallel arrays; `staying` and `travelling` are rows of the two sides."""

    staying: NDArray[np.int64]
    travelling: NDArray[np.int64]
    rating: NDArray[np.float32]


class RatingMatrix:
    """A dataset, seen from the side that stays."""

    def __init__(self, dataset: Dataset, room: int | None = None) -> None:
        self.dataset, self.manifest = dataset, dataset.manifest
        self.staying, self.travelling = sides_of(dataset.manifest, room)
        self._last: tuple[int, Block] | None = None

    @property
    def num_travelling(self) -> int:
        """Rows of the side that travels."""
        return self.dataset.num_rows(self.travelling)

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """Those of the users in the dataset, or pieces of those of the items; the same on any number of ranks.

        How many ratings a piece has is estimated from its rows.
        """
        return tuple(shard for shard, _ in self._pieces)

    @cached_property
    def _pieces(self) -> list[tuple[Shard, int]]:
        """Shards, each with the number of the dataset's shard that it is a part of."""
        numbered = enumerate(self.dataset.shards(self.staying))
        most = PIECE_ROWS if self.staying == "items" else None
        return [(piece, number) for number, shard in numbered for piece in _cut(shard, most)]

    def shares(self, num_ranks: int) -> list[range]:
        """The shards of each rank."""
        return share_shards(self.shards, num_ranks, ROW_RATINGS)

    @property
    def url(self) -> str:
        """Of the dataset."""
        return self.dataset.folder.url

    def name(self, shard: int) -> str:
        """What a message calls a shard: the one of the dataset that it is a part of."""
        return f"{self.staying[:-1]} shard {self._pieces[shard][1]}"

    def block(self, shard: int) -> Block:
        """The train ratings of a shard; its columns are the side that travels."""
        piece, number = self._pieces[shard]
        if self._last is None or self._last[0] != number:
            # Opening a block checks all of it; pieces of one shard follow each other.
            self._last = number, self.dataset.block(self.staying, number)
        return self._last[1].within(piece.start, piece.stop)

    def valid(self, shards: Sequence[int]) -> list[Entries]:
        """The validation ratings of some consecutive shards."""
        if self.staying == "users":
            found = [self.dataset.ratings("valid", shard) for shard in shards]
            return [Entries(one.user_index, one.item_index, one.rating) for one in found]
        return self._valid_of_items([self.shards[shard] for shard in shards])

    def _valid_of_items(self, shards: Sequence[Shard]) -> list[Entries]:
        """Files follow the user shards: of each the ratings of these items are kept."""
        if not shards:
            return []
        start, stop = shards[0].start, shards[-1].stop
        parts: list[NDArray[np.void]] = []
        for number in range(len(self.dataset.shards("users"))):
            found = self.dataset.ratings("valid", number)
            own = (found.item_index >= start) & (found.item_index < stop)
            parts.append(np.rec.fromarrays([found.item_index[own], found.user_index[own], found.rating[own]]))
        item, user, rating = (np.concatenate([part[f"f{field}"] for part in parts]) for field in range(3))
        order = np.argsort(item, kind="stable")
        edges = np.searchsorted(item[order], [start, *(shard.stop for shard in shards)])
        places = [order[first:last] for first, last in itertools.pairwise(edges)]
        return [Entries(item[place], user[place], rating[place]) for place in places]


def _cut(shard: Shard, most: int | None) -> list[Shard]:
    """Cut a shard into equally long pieces of at most `most` rows."""
    if most is None or shard.num_rows <= most:
        return [shard]
    count = -(-shard.num_rows // most)
    rows = [shard.num_rows * number // count for number in range(count + 1)]
    ratings = [shard.num_ratings * number // count for number in range(count + 1)]
    return [
        Shard(start=shard.start + first, stop=shard.start + last, num_ratings=many - few)
        for (first, last), (few, many) in zip(itertools.pairwise(rows), itertools.pairwise(ratings), strict=True)
    ]
