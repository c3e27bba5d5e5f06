"""Products of a sparse matrix of ratings with dense tables, at the cost of its entries.

    R rows, C columns, N entries, X width of a dense table

Gathers use `torch.nn.functional.embedding_bag`, which runs at memory speed on the CPU and on CUDA. All tensors of
a product are on one device.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True)
class Tables:
    """Dense tables with equal numbers of rows: inputs (a row per matrix column) or sums (a row per matrix row)."""

    plain: Sequence[torch.Tensor]
    """Summed with weight 1: each [C, X]."""
    by_value: torch.Tensor | None = None
    """Summed with the entry's value as weight: [C, X]."""
    by_square: torch.Tensor | None = None
    """Summed with the squared value as weight: [C, X]."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.members[0])

    @property
    def members(self) -> list[torch.Tensor]:
        """All tables in a fixed order."""
        return [*self.plain, *(table for table in (self.by_value, self.by_square) if table is not None)]

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Tables:
        """Apply `change` to each table."""
        plain = [change(table) for table in self.plain]
        by_value, by_square = (
            None if table is None else change(table) for table in (self.by_value, self.by_square)
        )
        return Tables(plain, by_value, by_square)

    def rows(self, start: int, stop: int) -> Tables:
        """Views of the rows start .. stop."""
        return self.map(lambda table: table[start:stop])


@dataclass(frozen=True)
class Csr:
    """A CSR matrix of ratings [R, C] on one device. `indptr` and `indices` have the same dtype, int32 or int64."""

    indptr: torch.Tensor
    indices: torch.Tensor
    values: torch.Tensor
    num_columns: int

    @classmethod
    def from_numpy(
        cls,
        indptr: NDArray[np.integer],
        indices: NDArray[np.integer],
        values: NDArray[np.float32],
        num_columns: int,
        device: torch.device,
    ) -> Csr:
        """Move a CSR matrix to `device`; indices become int32 if the numbers of entries and columns allow it.

        On the CPU, arrays of the right type are used as they are, unless they are read-only.
        """
        wide = max(len(values), num_columns) >= 2**31
        dtype = np.int64 if wide else np.int32
        return cls(
            _tensor(indptr, dtype).to(device),
            _tensor(indices, dtype).to(device),
            _tensor(values, np.float32).to(device),
            num_columns,
        )

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.indptr) - 1

    @property
    def num_entries(self) -> int:
        """N."""
        return len(self.values)

    def rows(self, start: int, stop: int) -> Csr:
        """The rows start .. stop; entries are views."""
        if (start, stop) == (0, self.num_rows):
            return self
        return self._rows(start, stop, int(self.indptr[start]), int(self.indptr[stop]))

    def pieces(self, num_rows: int) -> list[Csr]:
        """Cut into pieces of `num_rows` rows, the last with the rest; entries are views."""
        edges = [*range(0, max(1, self.num_rows), num_rows), self.num_rows]
        # A single transfer from the device.
        firsts = self.indptr[edges].tolist()
        cuts = zip(itertools.pairwise(edges), itertools.pairwise(firsts), strict=True)
        return [self._rows(start, stop, first, last) for (start, stop), (first, last) in cuts]

    def _rows(self, start: int, stop: int, first: int, last: int) -> Csr:
        """The rows start .. stop, whose entries are first .. last."""
        indptr = self.indptr[start : stop + 1] - first
        return Csr(indptr, self.indices[first:last], self.values[first:last], self.num_columns)

    def columns(self, start: int, stop: int) -> Csr:
        """The columns start .. stop, renumbered from 0."""
        if (start, stop) == (0, self.num_columns):
            return self
        inside = (self.indices >= start) & (self.indices < stop)
        # Number of kept entries before each entry: a prefix sum with a leading 0.
        kept = F.pad(inside.cumsum(0, dtype=self.indptr.dtype), (1, 0))
        return Csr(kept[self.indptr], self.indices[inside] - start, self.values[inside], stop - start)

    def sums(self, tables: Tables) -> Tables:
        """Sum the table rows of the entries' columns over each row, for each table: [C, X] -> [R, X]."""
        parts = (self.sum_of_member(tables, number) for number in range(len(tables.members)))
        return tables.map(lambda _: next(parts))

    def sum_of_member(self, tables: Tables, number: int) -> torch.Tensor:
        """The same for one table, given its index in `Tables.members`."""
        table, first_weighted = tables.members[number], len(tables.plain)
        if number < first_weighted:
            return self.plain_sum(table)
        if number == first_weighted and tables.by_value is not None:
            return self.weighted_sum(table)
        return self._sum(table, self.values.square().to(table.dtype))

    def weighted_sum(self, table_CX: torch.Tensor) -> torch.Tensor:
        """Values times table: row r sums value * table[column] over its entries. [C, X] -> [R, X]"""
        return self.sum_of(self.values.to(table_CX.dtype), table_CX)

    def plain_sum(self, table_CX: torch.Tensor) -> torch.Tensor:
        """Indicator times table: row r sums table[column] over its entries. [C, X] -> [R, X]"""
        return self._sum(table_CX, None)

    def sum_of(self, weight_N: torch.Tensor, table_CX: torch.Tensor) -> torch.Tensor:
        """Weights [N] instead of values, times table: [C, X] -> [R, X]"""
        return self._sum(table_CX, weight_N)

    def _sum(self, table_CX: torch.Tensor, weight_N: torch.Tensor | None) -> torch.Tensor:
        return F.embedding_bag(
            self.indices,
            table_CX,
            self.indptr,
            mode="sum",
            per_sample_weights=weight_N,
            include_last_offset=True,
        )


def _tensor(array: NDArray[Any], dtype: type[np.generic]) -> torch.Tensor:
    # torch warns of read-only arrays, such as those of mapped files.
    return torch.from_numpy(array.astype(dtype, copy=not array.flags.writeable))


def transpose(
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    values: NDArray[np.float32],
    num_columns: int,
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float32]]:
    """CSR arrays of the transpose [C, R] of a CSR matrix [R, C]; rows ascend within each column."""
    matrix = sparse.csr_matrix((values, indices, indptr), shape=(len(indptr) - 1, num_columns))
    transposed = matrix.T.tocsr()
    return transposed.indptr, transposed.indices, transposed.data
