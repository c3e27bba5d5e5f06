"""Shrinkage of short rows: rows with fewer ratings than the train rows of an AutoRec.

    R rows, N ratings of them, C columns, c sampled columns, H hidden units, n ratings of a row

An encoder generalises badly to rows much shorter than its train rows: with an `implicit_input` it takes missing
ratings for a preference. Such a row is shrunk towards the average row,

    share(n) (h, a) + (1 - share(n)) (average h, average a)
    share(n) = n / (n + pull) . (length + pull) / length    for n < length, else 1

`length` is the 5% quantile of the lengths of train rows. `pull` minimises the squared difference between
predictions from truncated and from full train rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.families.autorec.network.encoder import RowEncoder
from recsys_dist.kernels.sparse import Csr

QUANTILE = 0.05
PULLS = (0.0, *(2.0**power for power in range(-1, 9)))


@dataclass(frozen=True)
class ShortRows:
    """share(n) of a trained model."""

    length: float = 0.0
    pull: float = 0.0

    def share(self, num_ratings: int) -> float:
        """Weight of the encoded row; the average row has the rest."""
        if num_ratings == 0:
            return 0.0
        if num_ratings >= self.length:
            return 1.0
        return num_ratings / (num_ratings + self.pull) * (self.length + self.pull) / self.length


@dataclass(frozen=True)
class _Products:
    """Products of predictions from n ratings and from all ratings, relative to the average row's predictions.

    Summed over rows and columns.
    """

    num_ratings: int
    with_whole: float
    with_itself: float

    def loss(self, shares: ShortRows) -> float:
        """|share short - whole|^2, up to a constant."""
        share = shares.share(self.num_ratings)
        return share**2 * self.with_itself - 2 * share * self.with_whole


def fit_short_rows(
    encoder: RowEncoder,
    vector_cH: torch.Tensor,
    average_H: torch.Tensor,
    average_bias: torch.Tensor,
    pieces: Iterable[Csr],
    num_ratings_R: NDArray[np.int64],
) -> ShortRows:
    """Fit share(n) to `pieces` of the train rows and vectors of popular columns.

    `num_ratings_R` are the numbers of ratings of all rows.
    """
    rated_R = num_ratings_R[num_ratings_R > 0]
    length = float(np.quantile(rated_R, QUANTILE)) if len(rated_R) else 0.0

    def predicted(rows: Csr) -> torch.Tensor:
        hidden_RH, bias_R = encoder.encode(rows)
        return (hidden_RH - average_H) @ vector_cH.T + (bias_R - average_bias).unsqueeze(1)

    rng, found = np.random.default_rng(0), []
    for rows in pieces:
        whole_Rc = predicted(rows)
        for n in _lengths_below(length):
            is_longer_R = rows.indptr.diff() >= 2 * n
            whole, short = whole_Rc[is_longer_R], predicted(cut_short(rows, n, rng))[is_longer_R]
            found.append(_Products(n, float((short * whole).sum()), float(short.square().sum())))
    candidates = (ShortRows(length, pull) for pull in PULLS)
    return min(candidates, key=lambda shares: sum(products.loss(shares) for products in found))


def _lengths_below(length: float) -> list[int]:
    """Powers of two below `length`."""
    return [1 << power for power in range(64) if 1 << power < length]


def cut_short(rows: Csr, n: int, rng: np.random.Generator) -> Csr:
    """Truncate each row to at most n ratings, chosen at random."""
    indptr = rows.indptr.cpu().numpy()
    length_R = np.diff(indptr)
    row_N = np.repeat(np.arange(rows.num_rows), length_R)
    shuffled_N = np.lexsort((rng.random(rows.num_entries), row_N))
    # The first n of each shuffled row, sorted back into the original order.
    kept_M = np.sort(shuffled_N[np.arange(rows.num_entries) - indptr[row_N] < n])
    kept_indptr = np.concatenate([[0], np.cumsum(np.minimum(length_R, n))])
    kept = torch.from_numpy(kept_M).to(rows.values.device)
    return Csr(
        torch.from_numpy(kept_indptr).to(rows.indptr), rows.indices[kept], rows.values[kept], rows.num_columns
    )
