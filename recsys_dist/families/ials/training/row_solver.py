"""Least squares of a batch of rows, given the vectors of the other side.

    A x = b     A = sum of c q q^T + w0 G + lambda I     b = sum of c q     G = sum of q q^T over the other side

Up to `BLOCK` factors, each row is solved exactly by Cholesky. With more, one sweep over blocks of factors solves
each block given the others, starting from the row's last vector (iALS++, Rendle et al. 2021): its cost per
interaction is K x BLOCK instead of K^2. The residuals of the interactions are updated after each block.

    B rows of a batch, L interactions, K factors, k factors of a block, C rows of the other side

Interactions are scaled by the roots of their weights, z = sqrt(c) q, so that padding is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from recsys_dist.families.ials.training.row_batches import RowBatch

BLOCK = 64
"""Factors solved together: above it the Cholesky factorizations cost more than they gain."""
GATHER_FLOATS = 1 << 24
"""Numbers gathered at once for a row with very many interactions."""


def blocks_of(factors: int) -> list[slice]:
    """Cut the factors into blocks of nearly equal size, at most `BLOCK`."""
    count = -(-factors // BLOCK)
    return [slice(factors * i // count, factors * (i + 1) // count) for i in range(count)]


@dataclass(frozen=True)
class Solved:
    """Solved rows of a batch."""

    vector_BK: torch.Tensor
    objective_B: torch.Tensor
    """The terms of the objective that contain the row: float64."""


class RowSolver:
    """Solves rows of one side."""

    def __init__(self, table_CK: torch.Tensor, gram_KK: torch.Tensor, unobserved_weight: float) -> None:
        """`gram_KK` is the float64 Gramian of the whole other side."""
        self._table_CK = table_CK
        self._unobserved_KK = (unobserved_weight * gram_KK).to(table_CK.dtype)
        self._blocks = blocks_of(table_CK.shape[1])

    def solve(self, batch: RowBatch, penalty_B: torch.Tensor, vector_BK: torch.Tensor) -> Solved:
        """Solve a batch; `vector_BK` is where a sweep starts, and `penalty_B` is lambda of each row.

        A system that rounding has made singular gives NaN, never an exception.
        """
        gathered = _Gathered(self._table_CK, batch)
        if len(self._blocks) == 1:
            return self._solve_exactly(gathered, penalty_B)
        return self._sweep(gathered, penalty_B, vector_BK)

    def _solve_exactly(self, gathered: _Gathered, penalty_B: torch.Tensor) -> Solved:
        matrix_BKK, right_BK = self._system(gathered, self._blocks[0], penalty_B, gathered.root_BL)
        vector_BK = _solution(matrix_BKK, right_BK)
        # At the solution, x^T A x = x . b.
        fit_B = (vector_BK.double() * right_BK).sum(1)
        return Solved(vector_BK, gathered.root_BL.double().square().sum(1) - fit_B)

    def _sweep(self, gathered: _Gathered, penalty_B: torch.Tensor, vector_BK: torch.Tensor) -> Solved:
        vector_BK = vector_BK.clone()
        residual_BL = gathered.products(vector_BK, slice(None)).sub_(gathered.root_BL)
        for block in self._blocks:
            matrix_Bkk, slope_Bk = self._system(gathered, block, penalty_B, residual_BL)
            slope_Bk += vector_BK @ self._unobserved_KK[:, block]
            slope_Bk += penalty_B.unsqueeze(1) * vector_BK[:, block]
            step_Bk = _solution(matrix_Bkk, slope_Bk).neg_()
            vector_BK[:, block] += step_Bk
            residual_BL += gathered.products(step_Bk, block)
        wide_BK = vector_BK.double()
        unobserved_B = (wide_BK @ self._unobserved_KK.double() * wide_BK).sum(1)
        norm_B = penalty_B * wide_BK.square().sum(1)
        return Solved(vector_BK, residual_BL.double().square().sum(1) + unobserved_B + norm_B)

    def _system(
        self, gathered: _Gathered, block: slice, penalty_B: torch.Tensor, left_BL: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A of a block [B, k, k], and the sum of `left` z over the interactions [B, k]."""
        matrix_Bkk, right_Bk = gathered.moments(block, left_BL)
        matrix_Bkk += self._unobserved_KK[block, block]
        matrix_Bkk.diagonal(dim1=1, dim2=2).add_(penalty_B.unsqueeze(1))
        return matrix_Bkk, right_Bk


class _Gathered:
    """z of the interactions of a batch: gathered once, or piece by piece on each use if they are too many."""

    def __init__(self, table_CK: torch.Tensor, batch: RowBatch) -> None:
        self._table_CK, self._column_BL, self.root_BL = table_CK, batch.column_BL, batch.root_BL
        num_rows, length = batch.column_BL.shape
        step = max(1, GATHER_FLOATS // (num_rows * table_CK.shape[1]))
        self._pieces = [slice(start, start + step) for start in range(0, length, step)]
        self._whole = self._gather(self._pieces[0]) if len(self._pieces) == 1 else None

    def _gather(self, piece: slice) -> torch.Tensor:
        column_BL, root_BL = self._column_BL[:, piece], self.root_BL[:, piece]
        scaled_BLK = self._table_CK.index_select(0, column_BL.reshape(-1)).view(*column_BL.shape, -1)
        return scaled_BLK.mul_(root_BL.unsqueeze(2))

    def _scaled(self) -> Iterator[tuple[slice, torch.Tensor]]:
        for piece in self._pieces:
            yield piece, self._gather(piece) if self._whole is None else self._whole

    def moments(self, block: slice, left_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over the interactions of z z^T [B, k, k] and of left z [B, k], for the factors of a block."""
        sums: tuple[torch.Tensor, torch.Tensor] | None = None
        for piece, scaled_BLK in self._scaled():
            scaled_BLk = scaled_BLK[:, :, block]
            second_Bkk = torch.bmm(scaled_BLk.mT, scaled_BLk)
            first_Bk = torch.bmm(left_BL[:, None, piece], scaled_BLk).squeeze(1)
            sums = (second_Bkk, first_Bk) if sums is None else (sums[0] + second_Bkk, sums[1] + first_Bk)
        assert sums is not None, "a batch has interactions"
        return sums

    def products(self, vector_Bk: torch.Tensor, block: slice) -> torch.Tensor:
        """z . x at the interactions, for the factors of a block: [B, L]"""
        parts = [
            torch.bmm(vector_Bk.unsqueeze(1), scaled_BLK[:, :, block].mT).squeeze(1)
            for _, scaled_BLK in self._scaled()
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _solution(matrix_Bkk: torch.Tensor, right_Bk: torch.Tensor) -> torch.Tensor:
    factor_Bkk, failed_B = torch.linalg.cholesky_ex(matrix_Bkk)
    solution_Bk = torch.cholesky_solve(right_Bk.unsqueeze(2), factor_Bkk).squeeze(2)
    return solution_Bk.masked_fill_((failed_B > 0).unsqueeze(1), torch.nan)
