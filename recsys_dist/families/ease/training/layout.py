"""A symmetric matrix of items in square blocks: which rank stores which of them.

Of each pair of mirrored blocks only the lower one is stored, so all ranks together hold n^2 / 2 numbers. A rank
stores whole block columns, dealt out in turns that reverse (0 1 2 2 1 0 ...), since later columns are shorter. The
blocks depend only on n, and so do the results, whatever the number of ranks.

n items, b width of a block, m blocks in a row
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_WIDTH, WIDTH_UNIT = 512, 16
"""Products of blocks of 256 to 1024 rows are equally fast; smaller blocks waste less on the diagonal."""


@dataclass(frozen=True)
class BlockLayout:
    """The blocks of a matrix [n, n] on `num_ranks` ranks; the last block is padded with rows of the identity."""

    num_items: int
    num_ranks: int

    @property
    def count(self) -> int:
        """m"""
        return -(-self.num_items // MOST_WIDTH)

    @property
    def width(self) -> int:
        """b, about n / m, so that hardly a row is padding."""
        return -(-self.num_items // (self.count * WIDTH_UNIT)) * WIDTH_UNIT

    @property
    def num_rows(self) -> int:
        """n with padding."""
        return self.count * self.width

    def columns_of(self, rank: int) -> list[int]:
        """The block columns that a rank stores."""
        return [column for column in range(self.count) if self.owner(column) == rank]

    def owner(self, column: int) -> int:
        """The rank that stores a block column."""
        turn = column % (2 * self.num_ranks)
        return min(turn, 2 * self.num_ranks - 1 - turn)

    def stored_rows(self, column: int) -> int:
        """Rows of a block column from its diagonal block downwards."""
        return (self.count - column) * self.width

    def panel_parts(self, column: int) -> list[list[int]]:
        """For each rank, the block rows of a whole column that it stores, as such or mirrored."""
        parts: list[list[int]] = [[] for _ in range(self.num_ranks)]
        for row in range(column):
            parts[self.owner(row)].append(row)
        parts[self.owner(column)] += range(column, self.count)
        return parts

    def final_columns(self, rank: int) -> range:
        """The consecutive block columns whose weights a rank keeps in the end."""
        return range(rank * self.count // self.num_ranks, (rank + 1) * self.count // self.num_ranks)

    def items_of(self, rank: int) -> tuple[int, int]:
        """The items (start, stop) of `final_columns`."""
        columns = self.final_columns(rank)
        start, stop = columns.start * self.width, columns.stop * self.width
        return min(start, self.num_items), min(stop, self.num_items)
