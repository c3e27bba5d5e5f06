"""Partitions of the items: owners, batches of solves, and blocks of exchange.

They follow from the data set, the model size and the memory limit; only the owners depend on ranks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from recsys_dist.dataset.manifest import Manifest

Range = tuple[int, int]

LEAST_SOLVE_BLOCKS, MOST_SOLVE_BLOCKS = 4, 16
"""Bounds on the number of solve blocks, so that several ranks share even a short list of items."""
SOLVE_BLOCK_ROWS = 512
"""Items per solve block within these bounds: in smaller blocks the calls cost more than the arithmetic."""
TRAVEL_SHARE = 4
"""A block of items in exchange may take 1 / TRAVEL_SHARE of the memory limit."""
RATING_BYTES = 16
"""Bytes of one train rating in memory: column and value, in both orientations."""


@dataclass(frozen=True)
class ItemPartition:
    """Ranges of items."""

    solve_blocks: tuple[Range, ...]
    """Canonical: the rows of a block are solved together; blocks are summed in order."""
    owners: tuple[Range, ...]
    """For each rank a range of whole solve blocks; may be empty."""
    travel_blocks: tuple[Range, ...]
    """Canonical: the item rows that ranks exchange at a time."""

    @classmethod
    def of(
        cls, num_items: int, rows_at_once: int, row_bytes: int, world_size: int, memory_limit: int | None
    ) -> ItemPartition:
        """Partition for solves of up to `rows_at_once` rows and `row_bytes` bytes per item in exchange.

        `memory_limit` is in bytes per rank; None allows the exchange of all items at once.
        """
        step = solve_rows(num_items, rows_at_once)
        solve_blocks = _cut(num_items, step)
        edges = [0, *(stop for _, stop in solve_blocks)]
        cuts = [edges[len(solve_blocks) * rank // world_size] for rank in range(world_size + 1)]
        rows = num_items
        if memory_limit is not None:
            rows = min(rows, max(step, memory_limit // (TRAVEL_SHARE * row_bytes)))
        return cls(solve_blocks, tuple(itertools.pairwise(cuts)), _cut(num_items, rows))

    def own_solve_blocks(self, rank: int) -> list[slice]:
        """The solve blocks of one rank, relative to its first item."""
        first, last = self.owners[rank]
        return [slice(start - first, stop - first) for start, stop in self.solve_blocks if first <= start < last]


def keeps_ratings(manifest: Manifest, num_ranks: int, memory_limit: int | None) -> bool:
    """Whether ranks keep their train ratings in memory; else they read them again on every pass."""
    num_ratings = manifest.num_ratings["train"] / num_ranks
    return memory_limit is None or num_ratings * RATING_BYTES <= memory_limit / TRAVEL_SHARE


def solve_rows(num_items: int, rows_at_once: int) -> int:
    """Items of a solve block, and the fewest of a block in exchange."""
    count = min(max(LEAST_SOLVE_BLOCKS, num_items // SOLVE_BLOCK_ROWS), MOST_SOLVE_BLOCKS)
    return min(rows_at_once, -(-num_items // count))


def _cut(num_rows: int, step: int) -> tuple[Range, ...]:
    return tuple((start, min(start + step, num_rows)) for start in range(0, num_rows, step))


def travel_bytes(row_floats: int) -> int:
    """Bytes per item in exchange: a float32 row to users, a float32 partial sum and a float64 sum back."""
    return (4 + 4 + 8) * row_floats
