"""Batched systems of symmetric positive definite matrices: solutions, inverses and determinants.

    n order of a matrix, m = n + 1, B matrices of a batch, a and b orders of blocks

LAPACK's batched routines make a call per matrix, which for small n costs more than the arithmetic. Here each step
runs over the whole batch. The batch is the LAST dimension (`matrix_nnB`) for scalar steps and the FIRST
(`block_Bab`) for products of blocks. Positive definite matrices need no pivoting (Higham 2002, 10.1).
"""

from __future__ import annotations

import torch

LARGEST_SWEEP = 80
"""Order up to which scalar steps are no slower than blocks (measured on x86-64, like the orders of blocks)."""
SMALL_BLOCK, LARGE_BLOCK, LEAST_ORDER_OF_LARGE = 16, 32, 96

Blocks = dict[tuple[int, int], torch.Tensor]


def spd_solve(bordered_nmB: torch.Tensor) -> torch.Tensor:
    """Replace [A | r] by [-A^-1 | A^-1 r] in place; return the log determinants of A, [B].

    `bordered_nmB` [n, n + 1, B] holds symmetric positive definite matrices A and right-hand sides r. Only the
    upper triangle of -A^-1 is valid. A matrix that is not positive definite gives NaN in its solution and its log
    determinant, never an exception: the caller checks them once. The result of a matrix does not depend on the
    other matrices of the batch.
    """
    solve = sweep if len(bordered_nmB) <= LARGEST_SWEEP else solve_blocks
    log_determinant_B = solve(bordered_nmB)
    # A non-positive pivot has made the logarithm infinite or NaN. Adding NaN is cheaper than a masked fill.
    poison_B = torch.zeros_like(log_determinant_B).masked_fill_(~log_determinant_B.isfinite(), torch.nan)
    bordered_nmB[:, -1].add_(poison_B)
    return log_determinant_B.add_(poison_B)


def sweep(bordered_nmB: torch.Tensor) -> torch.Tensor:
    """Replace [A | r] by [-A^-1 | A^-1 r], pivot by pivot; return log det A, NaN or inf without positive pivots.

    The sweep operator (Goodnight 1979) keeps a matrix symmetric, so each step computes only the upper triangle, in
    bands of rows from the diagonal on. More bands skip more of the lower triangle, fewer save calls; their number,
    the root of n, was the fastest or within 6 % of it for n of 9 to 65.
    """
    n, root_nB, scaled_mB = (
        len(bordered_nmB),
        torch.empty_like(bordered_nmB[:, 0]),
        torch.empty_like(bordered_nmB[0]),
    )
    bands = [
        (bordered_nmB[band, band.start :], scaled_mB[band].unsqueeze(1), scaled_mB[band.start :].unsqueeze(0))
        for band in _cuts(n, round(n**0.5))
    ]
    for k in range(n):
        above_kB, row_mB = bordered_nmB[:k, k], bordered_nmB[k, k:]
        # For pivot d with row c:   A_ij <- A_ij - c_i c_j / d     A_kj, A_jk <- c_j / d     A_kk <- -1 / d
        root_B = torch.rsqrt(row_mB[0], out=root_nB[k])
        torch.mul(above_kB, root_B, out=scaled_mB[:k])
        torch.mul(row_mB, root_B, out=scaled_mB[k:])
        torch.neg(root_B, out=scaled_mB[k])
        above_kB.zero_()
        row_mB.zero_()
        for band_abB, left_a1B, right_1bB in bands:
            band_abB.addcmul_(left_a1B, right_1bB, value=-1)
    return _log_determinant(root_nB)


def solve_blocks(bordered_nmB: torch.Tensor) -> torch.Tensor:
    """The same as `sweep`, mostly by products of blocks: A = L L^T, then A^-1 = L^-T L^-1."""
    # A blocked sweep needs a third fewer products, but inverting whole pivot blocks loses digits: at a condition
    # number of 1e5 its error is up to 40 times LAPACK's.
    matrix_nnB, cuts = bordered_nmB[:, :-1], block_cuts(len(bordered_nmB))
    upper = [(i, j) for i in range(len(cuts)) for j in range(i, len(cuts))]
    blocks = {(i, j): _batch_first(matrix_nnB[cuts[i], cuts[j]]) for i, j in upper}
    log_determinant_B = torch.zeros_like(matrix_nnB[0, 0])
    for k in range(len(cuts)):
        factor_bbB = inverse_factor(_batch_last(blocks[k, k]))
        log_determinant_B += _log_determinant(factor_bbB.diagonal().T)
        blocks[k, k] = _batch_first(factor_bbB)
        _eliminate(blocks, k, len(cuts))
    for i, j in upper:
        inverse_abB = _batch_last(_factor_product(blocks, i, j, len(cuts)))
        torch.neg(inverse_abB, out=matrix_nnB[cuts[i], cuts[j]])
        if i < j:
            matrix_nnB[cuts[j], cuts[i]] = matrix_nnB[cuts[i], cuts[j]].transpose(0, 1)
    bordered_nmB[:, -1] = _negated_product(matrix_nnB, bordered_nmB[:, -1])
    return log_determinant_B


def _negated_product(matrix_nnB: torch.Tensor, right_nB: torch.Tensor) -> torch.Tensor:
    """-A r, column by column: the order of additions in torch.sum depends on the size of the batch."""
    product_nB = torch.zeros_like(right_nB)
    for k, right_B in enumerate(right_nB):
        product_nB.addcmul_(matrix_nnB[:, k], right_B, value=-1)
    return product_nB


def block_cuts(n: int) -> list[slice]:
    """Cut rows 0 .. n into blocks of nearly equal order."""
    return _cuts(n, max(1, n // (LARGE_BLOCK if n >= LEAST_ORDER_OF_LARGE else SMALL_BLOCK)))


def _cuts(n: int, count: int) -> list[slice]:
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def inverse_factor(matrix_nnB: torch.Tensor) -> torch.Tensor:
    """L^-1 [n, n, B] of A = L L^T, zero above its diagonal, by Gaussian elimination of [A | I]."""
    n = len(matrix_nnB)
    both_nmB = torch.cat([matrix_nnB, torch.zeros_like(matrix_nnB)], dim=1)
    both_nmB[:, n:].diagonal().fill_(1)
    for k in range(n):
        # Entries left of A_kk are eliminated, entries right of I_kk are still zero.
        row_mB = both_nmB[k, k : n + k + 1]
        # A_kj <- A_kj / sqrt(A_kk)          A_ij <- A_ij - A_ki A_kj   for i > k
        row_mB.mul_(row_mB[0].rsqrt())
        below_mmB = both_nmB[k + 1 :, k + 1 : n + k + 1]
        below_mmB.addcmul_(row_mB[1 : n - k].unsqueeze(1), row_mB[1:].unsqueeze(0), value=-1)
    return both_nmB[:, n:]


def _log_determinant(root_nB: torch.Tensor) -> torch.Tensor:
    """log det A = -2 sum over pivots of log(1 / sqrt(pivot))."""
    # Added one by one, for the same reason as in `_negated_product`.
    log_determinant_B = torch.zeros_like(root_nB[0])
    for log_B in root_nB.log():
        log_determinant_B.add_(log_B, alpha=-2)
    return log_determinant_B


def _eliminate(blocks: Blocks, k: int, count: int) -> None:
    """One step of `inverse_factor` by blocks; block (k, k) already holds its inverse factor.

    Block (i, j) belongs to A if i <= j, and to L^-1 if i > j.
    """
    row = {j: blocks[k, k] if j == k else torch.bmm(blocks[k, k], blocks[k, j]) for j in range(count)}
    for i in range(k + 1, count):
        blocks[i, k] = torch.bmm(row[i].mT, row[k]).neg_()
        for j in (*range(k), *range(i, count)):
            blocks[i, j].baddbmm_(row[i].mT, row[j], alpha=-1)
    blocks.update({(k, j): row[j] for j in range(k)})


def _factor_product(blocks: Blocks, i: int, j: int, count: int) -> torch.Tensor:
    """Block (i, j), i <= j, of A^-1: the sum over k >= j of (L^-1)_ki^T (L^-1)_kj."""
    product_Bab = torch.bmm(blocks[j, i].mT, blocks[j, j])
    for k in range(j + 1, count):
        product_Bab.baddbmm_(blocks[k, i].mT, blocks[k, j])
    return product_Bab


def _batch_first(block_abB: torch.Tensor) -> torch.Tensor:
    # torch copies a transpose of two dimensions tile by tile, but not of three.
    a, b, size = block_abB.shape
    return block_abB.reshape(a * b, size).T.contiguous().view(size, a, b)


def _batch_last(block_Bab: torch.Tensor) -> torch.Tensor:
    size, a, b = block_Bab.shape
    return block_Bab.view(size, a * b).T.contiguous().view(a, b, size)
