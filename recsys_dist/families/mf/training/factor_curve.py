"""How many factors the data supports: the error on withheld ratings by the number of principal axes in use.

Shapes: see families/mf/em/layout.py; N pairs of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from recsys_dist.dataset.manifest import RatingStats
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.mf.em.factor_map import PrincipalAxes
from recsys_dist.families.mf.ranks.rating_shards import RatingPairs
from recsys_dist.families.mf.training.factorization import Factorization
from recsys_dist.kernels.one_thread import one_thread
from recsys_dist.kernels.sparse import Tables

LOST = 2e-5
"""Factors are removed that together lower the squared error of withheld ratings by no more than this share."""
NOISE = 2.0
"""Factors are all removed that lower it by no more standard errors than this."""
GAINED = 1e-3
"""More factors are tried where the last quarter lowers the squared error by this share."""
PAIRS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class FactorCurve:
    """Errors on withheld ratings with the k strongest factors: float64 [K + 1]."""

    error_k: torch.Tensor
    """Sum of the squared errors."""
    noise_k: torch.Tensor
    """Standard error of the sum's difference from that without factors, of paired ratings."""

    @classmethod
    def of(
        cls,
        model: Factorization[Any],
        pairs_of: Callable[[int], RatingPairs],
        limits: RatingStats,
        collectives: Collectives,
    ) -> FactorCurve:
        """Judge on the pairs that `pairs_of` returns per own shard; predictions are clipped to `limits`.

        Collective.
        """
        axes = PrincipalAxes.of(model.users.prior, model.items.prior)
        pairs = [pairs_of(index) for index in model.shards.own]
        user_RX = _along(model.users.mean_nR, axes.user_axes_KK, axes.user_mean_K, axes.item_mean_K)
        item_RX = _along(model.items.mean_nR, axes.item_axes_KK, axes.item_mean_K, axes.user_mean_K)
        offset = limits.mean - float(axes.user_mean_K @ axes.item_mean_K)
        sums_B2k = item_RX.new_zeros((len(pairs), 2, item_RX.shape[1]))
        for (start, stop), tables in model.exchange.travel(Tables([item_RX])):
            for sums_2k, one in zip(sums_B2k, pairs, strict=True):
                for chunk in (
                    torch.nonzero((one.item >= start) & (one.item < stop)).squeeze(1).split(PAIRS_AT_ONCE)
                ):
                    items_NX = tables.plain[0][one.item[chunk] - start]
                    predicted_Nk = offset + _partial_scores(user_RX[one.user_row[chunk]], items_NX)
                    rating_N = torch.from_numpy(one.rating[chunk.cpu().numpy()]).to(predicted_Nk)
                    clipped_Nk = predicted_Nk.clip(limits.min, limits.max)
                    error_Nk = (clipped_Nk - rating_N.unsqueeze(1)).square()
                    with one_thread():
                        sums_2k[0] += error_Nk.sum(0)
                        sums_2k[1] += (error_Nk - error_Nk[:, :1]).square().sum(0)
        error_k, square_k = collectives.sum_blocks(sums_B2k)
        return cls(error_k, square_k.sqrt())

    @property
    def supported(self) -> int:
        """The number of factors to keep: twice the least that loses at most `LOST`, rounded up to a power of 2.

        0 where the best number gains less than `NOISE` standard errors. Training goes on with all ratings, which
        support more than the withheld ones show. Mean test RMSE of the folds of ML-100K: .8805 with the least
        number (9 to 17), .8804 with a power of 2 (16 or 32), .8802 with 32.
        """
        best = int(self.error_k.argmin())
        fewest = int((self.error_k <= (1 + LOST) * self.error_k[best]).nonzero()[0])
        if fewest == 0 or self.error_k[0] - self.error_k[best] <= NOISE * self.noise_k[best]:
            return 0
        return min(2 << (fewest - 1).bit_length(), len(self.error_k) - 1)

    @property
    def supports_more(self) -> bool:
        """Whether the last quarter of the factors is worth `GAINED`."""
        num_factors = len(self.error_k) - 1
        before = self.error_k[num_factors - math.ceil(num_factors / 4)]
        return bool(self.error_k[-1] <= (1 - GAINED) * before) and num_factors > 0


def _along(
    mean_nR: torch.Tensor, axes_KK: torch.Tensor, mean_K: torch.Tensor, other_mean_K: torch.Tensor
) -> torch.Tensor:
    """Rows along the axes, less the prior mean, and their bias with no factor in use: float64 [R, K + 1]."""
    with one_thread():
        along_RK = mean_nR[:-1].double().T @ axes_KK.T
        bias_R = mean_nR[-1].double() + along_RK @ other_mean_K
    return torch.cat([along_RK - mean_K, bias_R.unsqueeze(1)], 1)


def _partial_scores(users_NX: torch.Tensor, items_NX: torch.Tensor) -> torch.Tensor:
    """Scores with the first 0, 1, ... K factors: [N, K + 1]."""
    biases_N1 = users_NX[:, -1:] + items_NX[:, -1:]
    return torch.cat([biases_N1, biases_N1 + (users_NX[:, :-1] * items_NX[:, :-1]).cumsum(1)], 1)
