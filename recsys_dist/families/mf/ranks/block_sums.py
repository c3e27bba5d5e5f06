"""Sums over the rows of one side of a matrix factorization, with the same bits on any number of ranks.

Rows are summed block by block, and the sums of the blocks are added in their order, in float64. Blocks do not
depend on ranks; a rank owns some consecutive ones. R rows of this rank, n own entries, X any width.
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

    def of(self, rows_RX: torch.Tensor) -> torch.Tensor:
        """Sum rows over all ranks: float64 [X]."""
        sums_BX = rows_RX.new_zeros((len(self._blocks), rows_RX.shape[1]), dtype=torch.float64)
        for sums_X, block in zip(sums_BX, self._blocks, strict=True):
            with one_thread():
                sums_X.copy_(rows_RX[block].sum(0))
        return self._collectives.sum_blocks(sums_BX, self._counts)

    def of_products(self, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Sum the products of the entries of P pairs of tables [R, X] over all ranks: float64 [P, X]."""
        size = (len(self._blocks), len(pairs), pairs[0][0].shape[1])
        sums_BPX = pairs[0][0].new_zeros(size, dtype=torch.float64)
        for sums_PX, block in zip(sums_BPX, self._blocks, strict=True):
            for sums_X, (left_RX, right_RX) in zip(sums_PX, pairs, strict=True):
                # Block by block: the products stay in the cache.
                products_BX = left_RX[block] * right_RX[block]
                with one_thread():
                    sums_X.copy_(products_BX.sum(0))
        return self._collectives.sum_blocks(sums_BPX, self._counts)

    def second_moment(self, rows_Rn: torch.Tensor) -> torch.Tensor:
        """Sum of x x^T over the rows of all ranks: float64 [n, n]."""
        n = rows_Rn.shape[1]
        products_Bnn = rows_Rn.new_zeros((len(self._blocks), n, n), dtype=torch.float64)
        for product_nn, block in zip(products_Bnn, self._blocks, strict=True):
            rows_Bn = rows_Rn[block].double()
            with one_thread():
                product_nn.copy_(rows_Bn.T @ rows_Bn)
        return self._collectives.sum_blocks(products_Bnn, self._counts)
