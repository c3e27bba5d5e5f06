"""A symmetric matrix [n, n] over ranks, and its inverse by sweeps, exact up to rounding.

A block sweep of the pivot k replaces, with D = A_kk^-1 and the column C = A_:k,

    A_ij <- A_ij - C_i D C_j^T        A_ik <- C_i D        A_kk <- -D

and keeps the matrix symmetric, so that only the lower blocks are computed: n^3 operations in all, those of a
Cholesky factorization with inversion (2 n^3 without symmetry). After a sweep of every pivot the matrix is -A^-1
(Beaton 1964; Goodnight 1979). Every sweep costs the same, shared evenly by the ranks. A sweep needs one column of
blocks from the others: n^2 numbers for a rank in all.

n items, b width of a block, m blocks in a row
"""

from __future__ import annotations

from itertools import accumulate

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import TrainingError
from recsys_dist.families.ease.training.layout import BlockLayout


class SymmetricMatrix:
    """The lower blocks that this rank stores."""

    def __init__(self, layout: BlockLayout, collectives: Collectives) -> None:
        self.layout = layout
        self._collectives = collectives
        self._columns: dict[int, torch.Tensor] = {}

    def put(self, column: int, stored_Rb: torch.Tensor) -> None:
        """Set a column that this rank stores, from its diagonal block downwards; it is overwritten later."""
        self._columns[column] = stored_Rb

    def panel(self, column: int) -> torch.Tensor:
        """A whole column of blocks, on every rank: [n, b], read-only. Collective."""
        parts = self.layout.panel_parts(column)
        own = parts[self._collectives.world.rank]
        own_Rb = torch.cat([self._none, *(self._block(row, column) for row in own)])
        stops = list(accumulate(len(part) * self.layout.width for part in parts))
        gathered = self._collectives.gather_rows(own_Rb, list(zip([0, *stops[:-1]], stops, strict=True)))
        order = [row for part in parts for row in part]
        if order == list(range(len(order))):
            return gathered
        blocks_mbb = gathered.view(self.layout.count, self.layout.width, self.layout.width)
        panel_mbb = torch.empty_like(blocks_mbb)
        panel_mbb[order] = blocks_mbb
        return panel_mbb.view(-1, self.layout.width)

    def sweep(self, pivot: int) -> None:
        """Sweep one pivot. Collective. Raises `TrainingError` if the matrix is not positive definite."""
        panel_nb, width = self.panel(pivot), self.layout.width
        at_pivot = slice(pivot * width, (pivot + 1) * width)
        inverse_bb = _inverse(panel_nb[at_pivot])
        turned_nb = panel_nb @ inverse_bb
        for column, stored_Rb in self._columns.items():
            first = column * width
            if column == pivot:
                stored_Rb.copy_(turned_nb[first:])
                stored_Rb[:width] = -inverse_bb
                continue
            turned_bb = turned_nb[first : first + width].T
            stored_Rb.addmm_(panel_nb[first:], turned_bb, alpha=-1)
            if column < pivot:
                stored_Rb[at_pivot.start - first : at_pivot.stop - first] = turned_bb

    @property
    def _none(self) -> torch.Tensor:
        device = self._collectives.world.device
        return torch.empty((0, self.layout.width), dtype=torch.float32, device=device)

    def _block(self, row: int, column: int) -> torch.Tensor:
        """A stored block, mirrored if it lies above the diagonal: [b, b]"""
        low, high = sorted((row, column))
        start = (high - low) * self.layout.width
        block_bb = self._columns[low][start : start + self.layout.width]
        return block_bb if row >= column else block_bb.T


def _inverse(pivot_bb: torch.Tensor) -> torch.Tensor:
    """The inverse of a pivot, in float64 before rounding."""
    lower_bb, failed = torch.linalg.cholesky_ex(pivot_bb.double())
    if failed.item():
        raise TrainingError("model.regularization is too small: X^T X + lambda I is singular in float32; raise it")
    return torch.cholesky_inverse(lower_bb).float()
