"""Ranking metrics: all items that a user has not rated in training are ranked; liked held-out items are relevant.

U users, I items, B users of a block, n places of a list, N held-out ratings
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Ratings
from recsys_dist.evaluation.report import Ranking
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.top import best_items, users_per_block
from recsys_dist.metrics import RankingSums

TOP = 10
SAMPLE_SEED = 0


@dataclass(frozen=True)
class Liked:
    """The relevant held-out ratings: those of at least `relevant_from`.

    Users and items unknown to the model cannot be ranked and do not count.
    """

    relevant_from: float
    num_users: int
    num_items: int

    def pairs(self, held_out: Ratings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Users and items of the relevant ratings."""
        known = (held_out.user_index < self.num_users) & (held_out.item_index < self.num_items)
        mine = known & (held_out.rating >= self.relevant_from)
        return held_out.user_index[mine], held_out.item_index[mine]


def rank_held_out(
    model: Predictor, liked: Liked, held_out: Iterable[Ratings], eligible_U: NDArray[np.bool_], max_users: int
) -> Ranking:
    """Recall and nDCG at `TOP`, averaged over at most `max_users` of the eligible users, drawn by a fixed seed."""
    start, sums = time.perf_counter(), RankingSums()
    drawn_U = _draw(eligible_U, max_users)
    step = users_per_block(model.catalog.num_items)
    for ratings in held_out:
        user_N, item_N = liked.pairs(ratings)
        user_N, item_N = user_N[drawn_U[user_N]], item_N[drawn_U[user_N]]
        users = np.unique(user_N)
        for begin in range(0, len(users), step):
            user_B = users[begin : begin + step]
            mine = np.isin(user_N, user_B)
            sums += _rank_block(model, user_B, np.searchsorted(user_B, user_N[mine]), item_N[mine])
    return Ranking(
        top=TOP,
        relevant_from=liked.relevant_from,
        eligible_users=int(eligible_U.sum()),
        users=sums.users,
        recall=sums.mean_recall,
        ndcg=sums.mean_ndcg,
        seconds=time.perf_counter() - start,
    )


def _draw(eligible_U: NDArray[np.bool_], max_users: int) -> NDArray[np.bool_]:
    eligible = np.flatnonzero(eligible_U)
    drawn_U = np.zeros_like(eligible_U)
    drawn_U[np.random.default_rng(SAMPLE_SEED).permutation(eligible)[:max_users]] = True
    return drawn_U


def _rank_block(
    model: Predictor, user_B: NDArray[np.int64], position_N: NDArray[np.int64], item_N: NDArray[np.int64]
) -> RankingSums:
    """`position_N` is the position in `user_B` of the user of each liked item."""
    num_items = model.catalog.num_items
    seen = model.catalog.train_ratings.of_users(user_B)
    # Encode each pair (user, item) as one integer; liked items that were also rated in training cannot be ranked.
    wanted = np.setdiff1d(position_N * num_items + item_N, seen[0] * num_items + seen[1])
    score_BI = model.scorer.scores(model.known(user_B))
    item_Bn, score_Bn = (tensor.cpu().numpy() for tensor in best_items(score_BI, TOP, [seen]))
    listed_Bn = np.arange(len(user_B))[:, None] * num_items + item_Bn
    is_hit_Bn = np.isin(listed_Bn, wanted) & ~np.isneginf(score_Bn)
    relevant_B = np.bincount(wanted // num_items, minlength=len(user_B))
    return RankingSums.of(is_hit_Bn[relevant_B > 0], relevant_B[relevant_B > 0])
