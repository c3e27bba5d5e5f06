"""Sums over ratings between users (sharded over ranks) and items (partitioned by range).

    to users    all-gather item tables from their owners; each rank sums for its own users
    to items    each rank sums over its own users; reduce-scatter the sums to the owners of the items

Items are sent in blocks, so that a rank holds only its own rows and one block; if memory suffices, one block holds
all items. Partial sums are float32 within a shard and float64 between shards. Float64 sums of this size are exact:
the result does not depend on ranks.

In one epoch all ranks together receive, for I items of width `row_floats` (see the factorization), in bytes

    (ranks - 1) x I x (4 x width to users + 8 x width to items)                     float32 out, float64 back

Constrained priors add, for each of the n numbers of a row, at most 4 x 2 + 8 x 3 bytes for the constraint of users
and 4 x 3 + 8 x 2 bytes for that of items: one residual, and one product or two of conjugate gradients. Diagonal
posteriors make another pass over the ratings in each step of their conjugate gradients: see entry_sums.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.mf.ranks.rating_shards import RatingShards, UserShard
from recsys_dist.kernels.sparse import Csr, Tables

CHUNK_NUMBERS = 1 << 16
PIECE_NUMBERS = 1 << 18
"""Numbers of a piece when a shard adds its partial sums: it is added chunk by chunk while it is in the cache."""

Range = tuple[int, int]
Shards = Callable[[], Iterator[UserShard]]
"""Starts a pass over the participating shards of this rank."""


class Exchange:
    """Sums over ratings on one rank, and their exchange with the other ranks."""

    def __init__(
        self,
        shards: RatingShards,
        collectives: Collectives,
        item_ranges: Sequence[Range],
        item_blocks: Sequence[Range],
    ) -> None:
        self.shards, self._collectives = shards, collectives
        self._item_ranges, self.item_blocks = item_ranges, item_blocks
        self.own_items = item_ranges[collectives.world.rank]

    @property
    def is_whole(self) -> bool:
        """Whether one block holds all items."""
        return len(self.item_blocks) == 1

    def travel(self, own: Tables) -> Iterator[tuple[Range, Tables]]:
        """All-gather item rows block by block: own item rows [R, X] -> rows start .. stop of the whole table."""
        for block in self.item_blocks:
            shares = [_overlap(owned, block) for owned in self._item_ranges]
            first, last = shares[self._collectives.world.rank]
            mine = own.rows(first - self.own_items[0], last - self.own_items[0])
            yield block, mine.map(partial(self._collectives.gather_rows, row_ranges=shares))

    def to_users(self, own: Tables, shards: Shards) -> Iterator[tuple[UserShard, Tables]]:
        """For each shard, sum the rows of the rated items over each user's ratings."""
        if self.is_whole:
            _, whole = next(self.travel(own))
            for shard in shards():
                yield shard, shard.ratings.sums(whole)
            return
        sums: dict[int, Tables] = {}
        for block, tables in self.travel(own):
            for shard in shards():
                part = shard.ratings.columns(*block).sums(tables)
                if shard.index in sums:
                    _add(sums[shard.index], part)
                else:
                    sums[shard.index] = part
        for shard in shards():
            yield shard, sums.pop(shard.index)

    def to_items(self, user_tables: Callable[[UserShard], Tables], like: Tables, shards: Shards) -> Tables:
        """Sum the rows of the users over each own item's ratings, in float64.

        `user_tables` makes the rows of one shard, once per block of items; `like` gives their widths.
        """
        own = _zeros(self.own_items, like)
        for block in self.item_blocks:
            total = _zeros(block, like)
            for shard in shards():
                _add_shard(total, shard, block, user_tables(shard))
            self._deliver_into(own, total, block)
        return own

    def answers(
        self,
        row_ID: torch.Tensor,
        width: int,
        answer: Callable[[UserShard, Csr, torch.Tensor], torch.Tensor],
        shards: Shards,
    ) -> torch.Tensor:
        """Send own item rows [I, D] to all ranks and return the sums of the shards' answers: float64 [I, width].

        `answer` gets a shard, its transposed ratings of items of a block and the rows of those items [B, D], and
        returns [B, width].
        """
        own = row_ID.new_zeros((len(row_ID), width), dtype=torch.float64)
        for block, tables in self.travel(Tables([row_ID])):
            total = row_ID.new_zeros((block[1] - block[0], width), dtype=torch.float64)
            for shard in shards():
                items, transposed = shard.of_items(*block)
                row_BD = tables.plain[0] if items is None else tables.plain[0][items]
                _add_in_chunks(answer(shard, transposed, row_BD), total, items)
            self._deliver_into(Tables([own]), Tables([total]), block)
        return own

    def sweep(
        self,
        own: Tables,
        solve: Callable[[UserShard, Tables, bool], Tables | None],
        user_tables: Callable[[UserShard], Tables],
        like: Tables,
        shards: Shards,
    ) -> Tables:
        """`to_users`, `solve` for each shard, then `to_items` with the `user_tables` of the solved users.

        With a single block of items, this takes one pass over the shards. `solve` then gets True and returns the
        tables of the solved users. They may overwrite what was gathered, which saves memory and its traffic.
        """
        if not self.is_whole:
            for shard, sums in self.to_users(own, shards):
                solve(shard, sums, False)
            return self.to_items(user_tables, like, shards)
        block = self.item_blocks[0]
        total = _zeros(block, like)
        for shard, sums in self.to_users(own, shards):
            tables = solve(shard, sums, True)
            assert tables is not None
            _add_shard(total, shard, block, tables)
        return self._deliver(total, block)

    def _deliver(self, total: Tables, block: Range) -> Tables:
        """Reduce-scatter: each owner gets the sums of its rows over all ranks."""
        shares = [_overlap(owned, block) for owned in self._item_ranges]
        return total.map(partial(self._collectives.sum_scatter_rows, row_ranges=shares))

    def _deliver_into(self, own: Tables, total: Tables, block: Range) -> None:
        """Reduce-scatter directly into the owner's rows, so that no second copy of all rows is needed."""
        first, last = _overlap(self.own_items, block)
        place = own.rows(first - self.own_items[0], last - self.own_items[0])
        for target, source in zip(place.members, self._deliver(total, block).members, strict=True):
            target.copy_(source)


def _zeros(block: Range, like: Tables) -> Tables:
    num_rows = block[1] - block[0]
    return like.map(lambda table: table.new_zeros((num_rows, table.shape[1]), dtype=torch.float64))


def _add_shard(total: Tables, shard: UserShard, block: Range, tables: Tables) -> None:
    """Add one shard's float32 partial sums for a block of items."""
    items, transposed = shard.of_items(*block)
    for number, target in enumerate(total.members):
        num_rows = max(1, PIECE_NUMBERS // target.shape[1])
        places = (target if items is None else items).split(num_rows)
        for piece, place in zip(transposed.pieces(num_rows), places, strict=True):
            part = piece.sum_of_member(tables, number)
            if items is None:
                _add_in_chunks(part, place)
            else:
                _add_in_chunks(part, target, place)


def _overlap(owned: Range, block: Range) -> Range:
    """The intersection of a range with a block; an empty one keeps the order of its neighbours."""
    start = min(max(owned[0], block[0]), block[1])
    return start, max(start, min(owned[1], block[1]))


def _add(total: Tables, part: Tables) -> None:
    for target, source in zip(total.members, part.members, strict=True):
        target.add_(source)


def _add_in_chunks(part: torch.Tensor, total: torch.Tensor, rows: torch.Tensor | None = None) -> None:
    """total[rows] += part, float32 to float64, in chunks whose conversion stays in the cache. None: all rows."""
    num_rows = max(1, CHUNK_NUMBERS // total.shape[1])
    if rows is None:
        for target, values in zip(total.split(num_rows), part.split(num_rows), strict=True):
            target.add_(values)
    else:
        for chosen, values in zip(rows.split(num_rows), part.split(num_rows), strict=True):
            total.index_add_(0, chosen, values.double())
