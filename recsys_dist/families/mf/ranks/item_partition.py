"""Who owns which items, which rows are solved together, and in which blocks items travel.

All of it follows from the data set, the size of the model and the memory limit; only the owners depend on ranks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

Range = tuple[int, int]

LEAST_SOLVE_BLOCKS, MOST_SOLVE_BLOCKS = 4, 16
"""Of a list that could be solved at once, so that a few ranks share even a short one."""
SOLVE_BLOCK_ROWS = 512
"""Between the two, a block for so many items: with fewer in each the calls cost more than the arithmetic."""
TRAVEL_SHARE = 4
"""One part in so many of the memory limit is for the block of items that travels."""
RATING_BYTES = 16
"""Of one train rating in memory: a column and a value, in both orientations."""


@dataclass(frozen=True)
class ItemPartition:
    """The items cut into ranges."""

    solve_blocks: tuple[Range, ...]
    """Canonical: solved together, and summed one after the other."""
    owners: tuple[Range, ...]
    """For each rank a range of whole solve blocks; may be empty."""
    travel_blocks: tuple[Range, ...]
    """Canonical: what other ranks hold of the item tables at a time."""

    @classmethod
    def of(
        cls, num_items: int, rows_at_once: int, row_bytes: int, world_size: int, memory_limit: int | None
    ) -> ItemPartition:
        """So many rows are solved at once; an item takes so many bytes on its travel.

        `memory_limit` is what one rank may take, in bytes; None means that all items may travel at once.
        """
        count = min(max(LEAST_SOLVE_BLOCKS, num_items // SOLVE_BLOCK_ROWS), MOST_SOLVE_BLOCKS)
        step = min(rows_at_once, -(-num_items // count))
        solve_blocks = _cut(num_items, step)
        edges = [0, *(stop for _, stop in solve_blocks)]
        cuts = [edges[len(solve_blocks) * rank // world_size] for rank in range(world_size + 1)]
        rows = num_items
        if memory_limit is not None:
            rows = min(rows, max(step, memory_limit // (TRAVEL_SHARE * row_bytes)))
        return cls(solve_blocks, tuple(itertools.pairwise(cuts)), _cut(num_items, rows))

    def own_solve_blocks(self, rank: int) -> list[slice]:
        """The solve blocks of one rank, counted from its first item."""
        first, last = self.owners[rank]
        return [slice(start - first, stop - first) for start, stop in self.solve_blocks if first <= start < last]


def _cut(num_rows: int, step: int) -> tuple[Range, ...]:
    return tuple((start, min(start + step, num_rows)) for start in range(0, num_rows, step))


def travel_bytes(row_floats: int) -> int:
    """Of one item on its travel: a float32 row to users, a float32 partial and a float64 sum from them."""
    return (4 + 4 + 8) * row_floats
