"""Sums over each row's ratings whose terms depend on the row itself.

For a user u with a row x_u, over the rated items with vectors z_i and precisions beta_i:

    RESIDUALS   sum of beta_i (r~_ui - x_u . z_i) z_i
    PRODUCTS    sum of beta_i (x_u . z_i) z_i
    SQUARES     sum of beta_i (r~_ui - x_u . z_i)^2

For items the sides are swapped. Each sum sends the vectors once, as in exchange.py: 4 D bytes per item to users
and, for sums of items, 8 D bytes back (8 for SQUARES). X columns of a sum: D, or 1 for SQUARES.
"""

from __future__ import annotations

from enum import Enum, auto

import torch

from recsys_dist.families.mf.ranks.exchange import Exchange, Shards
from recsys_dist.kernels.sampled import sampled_entries
from recsys_dist.kernels.sparse import Csr, Tables


class Of(Enum):
    """The terms of a sum."""

    RESIDUALS = auto()
    PRODUCTS = auto()
    SQUARES = auto()


class EntrySums:
    """Sums of one rank's users and items."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def to_users(self, row_UD: torch.Tensor, items: Tables, of: Of, shards: Shards) -> torch.Tensor:
        """Sum own user rows [U, D] against the item vectors (and precisions) of all ranks: [U, X]."""
        sums_UX = row_UD.new_zeros((len(row_UD), 1 if of is Of.SQUARES else row_UD.shape[1]))
        for block, tables in self._exchange.travel(items):
            for shard in shards():
                ratings = shard.ratings.columns(*block)
                sums_UX[shard.rows] += _sums(ratings, row_UD[shard.rows], tables, of)
        return sums_UX

    def to_items(self, row_ID: torch.Tensor, users: Tables, of: Of, shards: Shards) -> torch.Tensor:
        """Sum own item rows [I, D] against the user vectors (and precisions) of all ranks: float64 [I, X]."""
        return self._exchange.answers(
            row_ID,
            1 if of is Of.SQUARES else row_ID.shape[1],
            lambda shard, transposed, row_BD: _sums(
                transposed, row_BD, users.rows(shard.rows.start, shard.rows.stop), of
            ),
            shards,
        )


def _sums(ratings: Csr, row_RD: torch.Tensor, columns: Tables, of: Of) -> torch.Tensor:
    vector_CD, *precision = columns.plain
    entry_N = sampled_entries(ratings.indptr, ratings.indices, row_RD, vector_CD)
    if of is not Of.PRODUCTS:
        entry_N = ratings.values - entry_N
    if of is Of.SQUARES:
        weight_C1 = precision[0] if precision else torch.ones_like(vector_CD[:, :1])
        return ratings.sum_of(entry_N.square(), weight_C1)
    return ratings.sum_of(entry_N, vector_CD * precision[0] if precision else vector_CD)
