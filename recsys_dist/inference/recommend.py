"""Top-N lists: score the items for a block of users, drop seen items, keep the best.

B users of a block, I items
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.inference.criterion import RankingCriterion
from recsys_dist.inference.items.choice import ItemChoice
from recsys_dist.inference.lists import RecommendationLists, Recommendations
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.ranker import Ranker
from recsys_dist.inference.seen import DatasetRatings, SeenPairs
from recsys_dist.inference.top import users_per_block


def recommend(
    predictor: Predictor,
    user_ids: list[str],
    n: int,
    include_seen: bool,
    also_seen: str | None,
    order: RankingCriterion,
    choice: ItemChoice,
) -> RecommendationLists:
    """One list for each raw user id; see `Model.recommend`."""
    catalog = predictor.catalog
    user_U = catalog.user_ids.find(user_ids)
    lists = RecommendationLists()
    ranker = Ranker(predictor, order, choice)
    step = ranker.users_at_once(users_per_block(ranker.row_floats))
    elsewhere = None if also_seen is None else DatasetRatings(also_seen, catalog.item_ids)
    for start in range(0, len(user_ids), step):
        part = slice(start, start + step)
        seen: list[SeenPairs] = [] if include_seen else [catalog.train_ratings.of_users(user_U[part])]
        if elsewhere is not None:
            seen.append(elsewhere.of_users(user_ids[part]))
        users = predictor.known(user_U[part])
        ranked = ranker.best(users, user_U[part], n, seen, choice.own_pairs(part))
        lists += _lists(predictor, user_ids[part], users, *ranked)
    return lists


def _lists(
    predictor: Predictor, user_ids: list[str], users: Any, item_Bn: torch.Tensor, score_Bn: torch.Tensor
) -> list[Recommendations]:
    """Predict all wanted items of a block of users at once, then cut the result into lists."""
    row_N, item_N, count_B = wanted_pairs(item_Bn, score_Bn)
    rating_N = predictor.ratings(users, row_N, item_N)
    std_N = None if predictor.scorer.uncertainty is None else predictor.stds(users, row_N, item_N)
    ids_N, titles_N = predictor.catalog.describe(item_N)
    lists, stops_B = [], np.cumsum(count_B).tolist()
    for user_id, start, stop in zip(user_ids, [0, *stops_B], stops_B, strict=False):
        part = slice(start, stop)
        std = None if std_N is None else std_N[part]
        lists.append(Recommendations(user_id, ids_N[part], titles_N[part], rating_N[part], std))
    return lists


def wanted_pairs(
    item_Bn: torch.Tensor, score_Bn: torch.Tensor
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The places of the lists that are filled: row and item of each, [N], and how many each user has, [B]."""
    is_wanted_Bn = ~score_Bn.isneginf()
    count_B: NDArray[np.int64] = is_wanted_Bn.sum(1).cpu().numpy()
    return np.repeat(np.arange(len(count_B)), count_B), item_Bn[is_wanted_Bn].cpu().numpy(), count_B
