"""Sums over the rows of one side of a matrix factorization, with the same bits on any number of ranks.

Rows are summed block by block, and the sums of the blocks are added in their order. Blocks do not depend on ranks;
a rank owns some consecutive ones. R rows of this rank, n own entries, X any width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.kernels.one_thread import one_thread


class BlockSums:
    """Sums over the rows of one side; `blocks` are those of this rank, `counts` how many each rank has."""

    def __init__(self, blocks: Sequence[slice], counts: Sequence[int], collectives: Collectives) -> None:
        self._blocks, self._counts, self._collectives = blocks, counts, collectives

    def of(self, rows_RX: torch.Tensor, times_RX: torch.Tensor | None = None) -> torch.Tensor:
        """Sum rows, or the products of the entries of two tables, over all ranks: float64 [X]."""
        sums_BX = rows_RX.new_zeros((len(self._blocks), rows_RX.shape[1]), dtype=torch.float64)
        for row, block in enumerate(self._blocks):
            # Block by block: the products in float64 stay in the cache.
            part_BX = rows_RX[block] if times_RX is None else rows_RX[block].double() * times_RX[block].double()
            with one_thread():
                sums_BX[row] = part_BX.sum(0)
        return self._collectives.sum_blocks(sums_BX, self._counts)

    def second_moment(self, rows_Rn: torch.Tensor) -> torch.Tensor:
        """Sum of x x^T over the rows of all ranks: float64 [n, n]."""
        n = rows_Rn.shape[1]
        products_Bnn = rows_Rn.new_zeros((len(self._blocks), n, n), dtype=torch.float64)
        for product_nn, block in zip(products_Bnn, self._blocks, strict=True):
            rows_Bn = rows_Rn[block].double()
            with one_thread():
                product_nn.copy_(rows_Bn.T @ rows_Bn)
        return self._collectives.sum_blocks(products_Bnn, self._counts)
