"""Sums over ratings between users, who are spread over ranks by shard, and items, who are spread by range.

    to users    item tables travel from their owners to all ranks; each rank sums for its own users
    to items    each rank sums over its own users; the sums travel to the owners of the items

Items travel in blocks, so that no rank ever holds more than its own rows and one block; a single block is the case
where all fits into memory. Partial sums are float32 within a shard and float64 between shards, where sums of this
size are exact: the result does not depend on ranks.

All ranks together receive in one epoch, for I items and row widths as `row_floats` of the factorization counts,

    (ranks - 1) x I x (4 x width to users + 8 x width to items)                     float32 out, float64 back

and with constrained priors, n wide: for the constraint of users 4 x 3 + 8 x 4, of items 4 x 4 + 8 x 3 bytes
for each of the n numbers of a row, of the right side and the three products of conjugate gradients. Independent
entries meet the ratings again in each step of their own conjugate gradients: see entry_sums.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.mf.ranks.rating_shards import RatingShards, UserShard
from recsys_dist.kernels.sparse import Csr, Tables

CHUNK_ROWS = 1024
PIECE_ROWS = 4096
"""Items to which a shard adds at a time: its part of their sums stays in the cache until it is added."""

Range = tuple[int, int]
Shards = Callable[[], Iterator[UserShard]]
"""Begins a pass over the shards of this rank that take part."""


class Exchange:
    """The sums over ratings of one rank's users, and their travel."""

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
        """Whether all items travel at once."""
        return len(self.item_blocks) == 1

    def travel(self, own: Tables) -> Iterator[tuple[Range, Tables]]:
        """Block by block the rows of all owners: own item rows [R, X] -> rows start .. stop of the whole table."""
        for block in self.item_blocks:
            shares = [_overlap(owned, block) for owned in self._item_ranges]
            first, last = shares[self._collectives.world.rank]
            mine = own.rows(first - self.own_items[0], last - self.own_items[0])
            yield block, mine.map(partial(self._collectives.gather_rows, row_ranges=shares))

    def to_users(self, own: Tables, shards: Shards) -> Iterator[tuple[UserShard, Tables]]:
        """For each shard of `shards`, the sums over each user's ratings of the rated items' rows."""
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
        """The sums over each own item's ratings of the rows of the users who rated it, in float64.

        `user_tables` makes the rows of one shard, once for each block of items; `like` has their widths.
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
        """Own item rows [I, D] travel to all ranks, each shard answers [items of a block, width] with its turned
        ratings of the block, and the sums of the answers return to the owners: float64 [I, width]."""
        own = row_ID.new_zeros((len(row_ID), width), dtype=torch.float64)
        for block, tables in self.travel(Tables([row_ID])):
            total = row_ID.new_zeros((block[1] - block[0], width), dtype=torch.float64)
            for shard in shards():
                _add_in_chunks(answer(shard, shard.transposed.rows(*block), tables.plain[0]), total)
            self._deliver_into(Tables([own]), Tables([total]), block)
        return own

    def sweep(
        self,
        own: Tables,
        solve: Callable[[UserShard, Tables], None],
        user_tables: Callable[[UserShard], Tables],
        like: Tables,
        shards: Shards,
    ) -> Tables:
        """`to_users`, `solve` for each shard, then `to_items` of what `user_tables` makes of the solved users.

        Where all items travel at once, one pass over the shards does all.
        """
        if not self.is_whole:
            for shard, sums in self.to_users(own, shards):
                solve(shard, sums)
            return self.to_items(user_tables, like, shards)
        block = self.item_blocks[0]
        total = _zeros(block, like)
        for shard, sums in self.to_users(own, shards):
            solve(shard, sums)
            _add_shard(total, shard, block, user_tables(shard))
        return self._deliver(total, block)

    def _deliver(self, total: Tables, block: Range) -> Tables:
        """Sum over ranks, each owner its rows."""
        shares = [_overlap(owned, block) for owned in self._item_ranges]
        return total.map(partial(self._collectives.sum_scatter_rows, row_ranges=shares))

    def _deliver_into(self, own: Tables, total: Tables, block: Range) -> None:
        """The same, put in their place among the owner's rows as they come: nobody holds them twice."""
        first, last = _overlap(self.own_items, block)
        place = own.rows(first - self.own_items[0], last - self.own_items[0])
        for target, source in zip(place.members, self._deliver(total, block).members, strict=True):
            target.copy_(source)


def _zeros(block: Range, like: Tables) -> Tables:
    num_rows = block[1] - block[0]
    return like.map(lambda table: table.new_zeros((num_rows, table.shape[1]), dtype=torch.float64))


def _add_shard(total: Tables, shard: UserShard, block: Range, tables: Tables) -> None:
    """Add one shard's float32 partial sums for a block of items."""
    pieces = shard.transposed.rows(*block).pieces(PIECE_ROWS)
    for number, target in enumerate(total.members):
        for piece, rows in zip(pieces, target.split(PIECE_ROWS), strict=True):
            _add_in_chunks(piece.sum_of_member(tables, number), rows)


def _overlap(owned: Range, block: Range) -> Range:
    """The rows of a block that a range holds; empty ranges keep the order of their neighbours."""
    start = min(max(owned[0], block[0]), block[1])
    return start, max(start, min(owned[1], block[1]))


def _add(total: Tables, part: Tables) -> None:
    for target, source in zip(total.members, part.members, strict=True):
        target.add_(source)


def _add_in_chunks(part: torch.Tensor, total: torch.Tensor) -> None:
    """total += part, from float32 to float64, by pieces whose conversion stays in the cache."""
    for rows, values in zip(total.split(CHUNK_ROWS), part.split(CHUNK_ROWS), strict=True):
        rows.add_(values)
