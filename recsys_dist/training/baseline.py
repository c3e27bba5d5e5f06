"""The biases under an AutoRec, by alternating ridge means over the shards of all ranks.

In: the train blocks of this rank's rows. Out: the same `Baseline` on every rank. Sums are float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.data.blocks import Block
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.models.autorec import SHRINKAGE, Baseline

ROUNDS = 4
"""Passes over the ratings; the error moves by less than 1e-4 after the third."""


def fit_baseline(blocks: Sequence[Block], num_columns: int, mean: float, collectives: Collectives) -> Baseline:
    """Fit column biases and the scale of what biases leave; entered by all ranks together."""
    ones = [np.bincount(block.indices, minlength=num_columns).astype(np.float64) for block in blocks]
    count_C = _sum_over_ranks(ones, num_columns, collectives)
    bias_C = np.zeros(num_columns)
    for _ in range(ROUNDS):
        totals = [_column_totals(block, bias_C, mean) for block in blocks]
        # b_c = sum over r of (r_rc - mean - a_r) / (n_c + shrinkage)
        bias_C = _sum_over_ranks(totals, num_columns, collectives) / (count_C + SHRINKAGE)
    squares = [np.array([np.square(_residuals(block, bias_C, mean)).sum()]) for block in blocks]
    variance = _sum_over_ranks(squares, 1, collectives)[0] / count_C.sum()
    column_bias_C = torch.from_numpy(bias_C.astype(np.float32)).to(collectives.world.device)
    # Ratings that the biases explain wholly leave no unit to measure in.
    return Baseline(mean, column_bias_C, math.sqrt(variance) if variance > 1e-12 else 1.0)


def _row_biases(block: Block, bias_C: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """The bias of the row of each entry: [N]"""
    # a_r = sum over c of (r_rc - mean - b_c) / (n_r + shrinkage)
    count_R = np.diff(block.indptr)
    row_N = np.repeat(np.arange(block.num_rows), count_R)
    total_R = np.bincount(row_N, block.values - mean - bias_C[block.indices], minlength=block.num_rows)
    row_bias_N: NDArray[np.float64] = (total_R / (count_R + SHRINKAGE))[row_N]
    return row_bias_N


def _column_totals(block: Block, bias_C: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    left_N = block.values - mean - _row_biases(block, bias_C, mean)
    return np.bincount(block.indices, left_N, minlength=len(bias_C)).astype(np.float64)


def _residuals(block: Block, bias_C: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    left_N: NDArray[np.float64] = block.values - mean - bias_C[block.indices] - _row_biases(block, bias_C, mean)
    return left_N


def _sum_over_ranks(
    parts: Sequence[NDArray[np.float64]], length: int, collectives: Collectives
) -> NDArray[np.float64]:
    total = sum(parts, start=np.zeros(length))
    total_C: NDArray[np.float64] = (
        collectives.sum_(torch.from_numpy(total).to(collectives.world.device)).cpu().numpy()
    )
    return total_C
