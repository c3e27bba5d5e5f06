"""Row and column biases with learnt variances, fitted in passes over sparse blocks.

    R rows, C columns, N ratings, B rows of a block

    r_rc = mean + a_r + b_c + noise
    a_r ~ Normal(0, tau_a^2)     b_c ~ Normal(0, tau_b^2)     noise ~ Normal(0, sigma^2)

With the shrinkage lambda_a = sigma^2 / tau_a^2, a row of n_r ratings has the posterior

    E[a_r] = sum over c of (r_rc - mean - b_c) / (n_r + lambda_a)     Var[a_r] = sigma^2 / (n_r + lambda_a)

and a column likewise. Row biases follow from the column biases, so only column biases are stored while rows
stream: each sweep adds up `sums` over the blocks of all ranks, and `after` computes the next biases from them. A
row or column without ratings has bias 0: the learnt `mean` is the rating of an unknown row and column.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block

Floats = NDArray[np.float64]

SWEEPS = 12
"""Passes over the ratings. The held-out error then converges to 1e-5, even if most rows have few ratings."""

FIRST_SHRINKAGE = 10.0
"""Initial shrinkage; the fit does not depend on it."""

SMALLEST_SHARE = 1e-12
"""Least noise variance, as a share of the variance of the ratings. Below it, biases explain all ratings."""

RESOLUTION = 1e-8
"""Relative difference of ratings that float32 cannot resolve."""

SMALLEST_RATIO = 1e-6
"""Least ratio of bias variance to noise variance, used if the ratings show no bias."""


@dataclass(frozen=True)
class Biases:
    """The state between two sweeps; the fit after SWEEPS sweeps."""

    mean: float
    column_bias_C: Floats
    row_shrinkage: float = FIRST_SHRINKAGE
    column_shrinkage: float = FIRST_SHRINKAGE
    noise_variance: float = 0.0
    smallest_variance: float | None = None
    """Least noise variance on the scale of the ratings, set by the first sweep."""

    @property
    def noise_std(self) -> float:
        """sigma; 1 if the biases explain all ratings."""
        is_explained = self.noise_variance <= (self.smallest_variance or 0.0)
        return 1.0 if is_explained else math.sqrt(self.noise_variance)

    def of_rows(self, block: Block) -> Floats:
        """Biases of the rows of a block, given the column biases: [B]."""
        return self._of_rows(block)[0]

    def sums(self, blocks: Iterable[Block]) -> Floats:
        """The input of `after`, to be summed over all blocks and ranks: [2C + 4].

        For each column, the sum of its ratings minus mean and row biases, and their number; in total, the squared
        errors, the row biases, their squares, and the shares w_r = n_r / (n_r + lambda_a).
        """
        num_columns = len(self.column_bias_C)
        sums = np.zeros(2 * num_columns + 4)
        for block in blocks:
            bias_B, share_B, error_N = self._of_rows(block)
            count_C = np.bincount(block.indices, minlength=num_columns)
            left_C = np.bincount(block.indices, error_N, num_columns) + count_C * self.column_bias_C
            over_all = [error_N @ error_N, bias_B.sum(), bias_B @ bias_B, share_B.sum()]
            sums += np.concatenate([left_C, count_C, over_all])
        return sums

    def after(self, sums: Floats) -> Biases:
        """The next biases, from the sums over all blocks: columns given rows, then mean and variances.

        One step of EM, except for the mean and the variances of the biases. These take steps with the same fixed
        points but faster convergence (Schall 1991, Estimation in generalized linear models with random effects).
        """
        left_C, count_C, over_all = np.split(sums, [len(self.column_bias_C), 2 * len(self.column_bias_C)])
        squared_error, row_sum, row_squares, row_shares = over_all.tolist()
        if row_shares == 0:
            return self
        # b_c = sum over r of (r_rc - mean - a_r) / (n_c + lambda_b)          w_c = n_c / (n_c + lambda_b)
        bias_C, share_C = left_C / (count_C + self.column_shrinkage), count_C / (count_C + self.column_shrinkage)
        column_shares = float(share_C.sum())
        # The generalised least squares mean of the rows is sum of a_r / sum of w_r; likewise for the columns.
        column_mean = float(bias_C.sum()) / column_shares
        bias_C = bias_C - column_mean * share_C
        # sigma^2 = (squared errors + sum of n_r Var[a_r] + sum of n_c Var[b_c]) / N,   n_r Var[a_r] = sigma^2 w_r
        noise = (squared_error + self.noise_variance * (row_shares + column_shares)) / float(count_C.sum())
        smallest = self.smallest_variance
        if smallest is None:
            smallest = max(SMALLEST_SHARE * noise, (RESOLUTION * self.mean) ** 2, sys.float_info.min)
        noise = max(noise, smallest)
        # tau_a^2 = sum of a_r^2 / sum of w_r
        return Biases(
            self.mean + row_sum / row_shares + column_mean,
            bias_C,
            _shrinkage(noise, row_squares / row_shares),
            _shrinkage(noise, float(bias_C @ bias_C) / column_shares),
            noise,
            smallest,
        )

    def _of_rows(self, block: Block) -> tuple[Floats, Floats, Floats]:
        """Biases [B] and shares [B] of the rows, and residual errors [N]."""
        count_B = np.diff(block.indptr)
        row_N = np.repeat(np.arange(block.num_rows), count_B)
        # a_r = sum over c of (r_rc - mean - b_c) / (n_r + lambda_a)
        left_N = block.values - self.column_bias_C.take(block.indices)
        # In place: a new array of this size costs about as much as the arithmetic.
        left_N -= self.mean
        bias_B = np.bincount(row_N, left_N, block.num_rows) / (count_B + self.row_shrinkage)
        left_N -= np.repeat(bias_B, count_B)
        return bias_B, count_B / (count_B + self.row_shrinkage), left_N


def _shrinkage(noise_variance: float, bias_variance: float) -> float:
    """lambda = sigma^2 / tau^2"""
    return noise_variance / max(bias_variance, SMALLEST_RATIO * noise_variance)
