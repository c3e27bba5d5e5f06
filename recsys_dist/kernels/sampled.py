"""The two products of an autoencoder over sparse rows, forward and backward, at the cost of the observed entries.

    B rows of a batch, C columns, N observed entries of the batch, H hidden units

No dense tensor of B x C is ever made. Forward, `weighted_rows` is values x table, and `sampled_product` gives the
observed entries of h W^T + b. Backward, each gradient is another product of the first kind, with the pattern or
its transpose, which is computed once per batch. The entries of a row are added in a fixed order, so results are
bitwise reproducible.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse

TILE_COLUMNS, TILE_ENTRIES, LEAST_TILES = 8192, 8, 3
"""Least columns per tile, entries per row of a tile, and tiles. With fewer, adding up the tiles costs as much as
they save (measured with 500 hidden units)."""


@dataclass(frozen=True)
class Tiles:
    """The entries of a batch in T ranges of columns (tiles), row by row within a tile.

    Each row of a batch reads rows all over a table. Tile by tile, these rows are still in the cache, and their
    pages in the TLB, when the next row of the batch reads them.
    """

    indptr_TB: torch.Tensor
    """[T, B + 1], each starting at 0"""
    columns_N: torch.Tensor
    order_N: torch.Tensor
    """Position of each entry in the order by row."""
    lengths: Sequence[int]
    """Number of entries in each tile."""

    @classmethod
    def of(cls, indptr: NDArray[np.integer], indices: NDArray[np.integer], num_columns: int) -> Tiles | None:
        """Tiles of a CSR pattern, on the CPU; None if they save nothing."""
        num_rows = len(indptr) - 1
        num_tiles = min(num_columns // TILE_COLUMNS, len(indices) // max(1, TILE_ENTRIES * num_rows))
        if num_tiles < LEAST_TILES:
            return None
        tile_N = indices // -(-num_columns // num_tiles)
        # NumPy sorts 16-bit numbers by radix sort.
        order_N = np.argsort(tile_N.astype(np.uint16), kind="stable")
        row_N = np.repeat(np.arange(num_rows), np.diff(indptr))
        entries_TB = np.bincount(tile_N * num_rows + row_N, minlength=num_tiles * num_rows).reshape(-1, num_rows)
        indptr_TB = np.pad(entries_TB.cumsum(axis=1), ((0, 0), (1, 0)))
        return cls(
            torch.from_numpy(indptr_TB.astype(indptr.dtype)),
            torch.from_numpy(indices[order_N].astype(indptr.dtype)),
            torch.from_numpy(order_N),
            indptr_TB[:, -1].tolist(),
        )

    def rows_sum(self, weights_N: torch.Tensor, table_CX: torch.Tensor) -> torch.Tensor:
        """(weights at the pattern, row by row) x table: [C, X] -> [B, X]."""
        weights_N = weights_N.index_select(0, self.order_N)
        tiles = zip(self.indptr_TB, self.columns_N.split(self.lengths), weights_N.split(self.lengths), strict=True)
        return functools.reduce(torch.Tensor.add_, (_bag(*tile, table_CX) for tile in tiles))


@dataclass(frozen=True)
class Pattern:
    """Sparsity pattern of a batch [B, C] by row and by column, on one device.

    indptr [B + 1], indices [N]: the column of each entry, row by row. columns_indptr [C + 1], columns_rows [N],
    columns_order [N]: the transpose, with the row of each entry, column by column, and its position in the order
    by row.
    """

    indptr: torch.Tensor
    indices: torch.Tensor
    columns_indptr: torch.Tensor
    columns_rows: torch.Tensor
    columns_order: torch.Tensor
    tiles: Tiles | None = None
    """Tiles for gathers from large tables."""

    @classmethod
    def from_numpy(
        cls,
        indptr: NDArray[np.integer],
        indices: NDArray[np.integer],
        num_columns: int,
        device: torch.device,
    ) -> Pattern:
        """Transpose a CSR pattern on the host and copy both to `device`, as int32 if the sizes allow it."""
        wide = max(len(indices), num_columns) >= 2**31
        dtype = np.int64 if wide else np.int32
        shape = (len(indptr) - 1, num_columns)
        numbered = sparse.csr_matrix((np.arange(len(indices)), indices, indptr), shape=shape)
        transposed = numbered.T.tocsr()

        def on_device(array: NDArray[np.integer]) -> torch.Tensor:
            return torch.from_numpy(array.astype(dtype)).to(device)

        return cls(
            on_device(indptr),
            on_device(indices),
            on_device(transposed.indptr),
            on_device(transposed.indices),
            torch.from_numpy(transposed.data.astype(np.int64)).to(device),
            # A GPU is faster with one call.
            Tiles.of(indptr.astype(dtype), indices, num_columns) if device.type == "cpu" else None,
        )

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.indptr) - 1

    @property
    def num_columns(self) -> int:
        """C."""
        return len(self.columns_indptr) - 1

    def rows_sum(self, weights_N: torch.Tensor, table_CX: torch.Tensor) -> torch.Tensor:
        """(weights at the pattern) x table: [C, X] -> [B, X]."""
        if self.tiles is not None:
            return self.tiles.rows_sum(weights_N, table_CX)
        return _bag(self.indptr, self.indices, weights_N, table_CX)

    def columns_sum(self, weights_N: torch.Tensor, table_BX: torch.Tensor) -> torch.Tensor:
        """(weights at the pattern, column by column)^T x table: [B, X] -> [C, X]."""
        return _bag(self.columns_indptr, self.columns_rows, weights_N, table_BX)

    def by_column(self, weights_N: torch.Tensor) -> torch.Tensor:
        """Reorder weights from row by row to column by column: [N]."""
        return weights_N.index_select(0, self.columns_order)

    def products(self, rows_BX: torch.Tensor, columns_CX: torch.Tensor) -> torch.Tensor:
        """Dot product of row and column at each entry: [B, X], [C, X] -> [N], without a gradient.

        Column by column, so that the larger table is read once in order while the other one stays in the cache.
        """
        product_N = rows_BX.new_empty(len(self.indices))
        by_column_N = sampled_entries(self.columns_indptr, self.columns_rows, columns_CX, rows_BX)
        return product_N.scatter_(0, self.columns_order, by_column_N)


@dataclass(frozen=True)
class ColumnProduct:
    """X^T Y: [C, H], computed a few rows at a time. X: the weights at a pattern [B, C]; Y: a table [B, H]."""

    pattern: Pattern
    weights_N: torch.Tensor
    """Weights column by column."""
    table_BH: torch.Tensor

    def blocks(self, num_columns: int) -> Iterator[torch.Tensor]:
        """The product in pieces of `num_columns` rows, with the same bits as in one piece."""
        pattern, weights_N = self.pattern, self.weights_N
        edges = [*range(0, max(1, pattern.num_columns), num_columns), pattern.num_columns]
        # A single transfer from the device.
        firsts = pattern.columns_indptr[edges].tolist()
        for (start, stop), (first, last) in zip(
            itertools.pairwise(edges), itertools.pairwise(firsts), strict=True
        ):
            indptr = pattern.columns_indptr[start : stop + 1] - first
            yield _bag(indptr, pattern.columns_rows[first:last], weights_N[first:last], self.table_BH)


def weighted_rows(
    pattern: Pattern, values_N: torch.Tensor, table_CH: torch.Tensor, later: list[ColumnProduct] | None = None
) -> torch.Tensor:
    """X V, where X has the values at the pattern: [C, H] -> [B, H]. Differentiable in the table only.

    If `later` is given, the gradient is appended to it instead of going to the table.
    """
    product: torch.Tensor = _WeightedRows.apply(table_CH, values_N, pattern, later)
    return product


def sampled_product(
    pattern: Pattern,
    hidden_BH: torch.Tensor,
    decoder_CH: torch.Tensor,
    bias_C: torch.Tensor,
    later: list[ColumnProduct] | None = None,
) -> torch.Tensor:
    """h_b . W_c + b_c at each entry (b, c) of the pattern: [B, H], [C, H], [C] -> [N]. Differentiable in all.

    If `later` is given, the gradient of W is appended to it instead of going to W.
    """
    product: torch.Tensor = _SampledProduct.apply(hidden_BH, decoder_CH, bias_C, pattern, later)
    return product


def sampled_entries(
    indptr: torch.Tensor, indices: torch.Tensor, hidden_BH: torch.Tensor, decoder_CH: torch.Tensor
) -> torch.Tensor:
    """h_b . W_c at each entry (b, c) of a CSR pattern: [B, H], [C, H] -> [N], without a gradient."""
    if len(indices) == 0:
        return hidden_BH.new_zeros(0)
    zeros = torch.zeros(len(indices), dtype=hidden_BH.dtype, device=hidden_BH.device)
    size = (len(indptr) - 1, len(decoder_CH))
    with warnings.catch_warnings():
        # torch warns once per process that its CSR tensors are in beta.
        warnings.simplefilter("ignore", UserWarning)
        empty = torch.sparse_csr_tensor(
            indptr, indices, zeros, size=size, device=hidden_BH.device, check_invariants=False
        )
    product: torch.Tensor = torch.sparse.sampled_addmm(empty, hidden_BH, decoder_CH.t(), beta=0.0)
    return product.values()


class _WeightedRows(torch.autograd.Function):
    """X V, with the gradient X^T dY."""

    @staticmethod
    def forward(
        ctx: Any,
        table_CH: torch.Tensor,
        values_N: torch.Tensor,
        pattern: Pattern,
        later: list[ColumnProduct] | None,
    ) -> torch.Tensor:
        ctx.pattern, ctx.later = pattern, later
        ctx.save_for_backward(values_N)
        return pattern.rows_sum(values_N, table_CH)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (values_N,) = ctx.saved_tensors
        # dV = X^T dY
        product = ColumnProduct(ctx.pattern, ctx.pattern.by_column(values_N), gradients[0].contiguous())
        return _now_or_later(product, ctx.later), None, None, None


class _SampledProduct(torch.autograd.Function):
    """(h W^T + b) at the pattern, with its gradients; D is the gradient at the entries, a sparse [B, C]."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_BH: torch.Tensor,
        decoder_CH: torch.Tensor,
        bias_C: torch.Tensor,
        pattern: Pattern,
        later: list[ColumnProduct] | None,
    ) -> torch.Tensor:
        ctx.pattern, ctx.later = pattern, later
        ctx.save_for_backward(hidden_BH, decoder_CH)
        return pattern.products(hidden_BH, decoder_CH).add_(bias_C.index_select(0, pattern.indices))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_BH, decoder_CH = ctx.saved_tensors
        pattern, gradient_N = ctx.pattern, gradients[0].contiguous()
        # dh = D W;  dW = D^T h;  db = D^T 1
        ones_B1 = torch.ones((pattern.num_rows, 1), dtype=hidden_BH.dtype, device=hidden_BH.device)
        by_column_N = pattern.by_column(gradient_N)
        return (
            pattern.rows_sum(gradient_N, decoder_CH),
            _now_or_later(ColumnProduct(pattern, by_column_N, hidden_BH), ctx.later),
            pattern.columns_sum(by_column_N, ones_B1).squeeze(1),
            None,
            None,
        )


def _now_or_later(product: ColumnProduct, later: list[ColumnProduct] | None) -> torch.Tensor | None:
    if later is None:
        return product.pattern.columns_sum(product.weights_N, product.table_BH)
    later.append(product)
    return None


def _bag(
    indptr: torch.Tensor, indices: torch.Tensor, weights_N: torch.Tensor, table: torch.Tensor
) -> torch.Tensor:
    if len(indices) == 0:
        return table.new_zeros((len(indptr) - 1, table.shape[1]))
    # Detached: torch would otherwise save tensors for its own backward pass.
    return F.embedding_bag(
        indices,
        table.detach(),
        indptr,
        mode="sum",
        per_sample_weights=weights_N.detach().to(table.dtype),
        include_last_offset=True,
    )
