"""Top-N lists: all items scored for a block of users, what they have seen taken out, the best kept.

B users of a block, I items, K width of the vectors
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from recsys_dist.families.bilinear.factors import on_device
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.order import Asked, Order, scorer
from recsys_dist.inference.seen import DatasetRatings, Pairs
from recsys_dist.inference.top import require_list_length, top_items, users_per_block

if TYPE_CHECKING:
    from recsys_dist.inference.model import Model


def best_items(score_BI: torch.Tensor, n: int, seen: list[Pairs]) -> tuple[torch.Tensor, torch.Tensor]:
    """The n best items of each of B users, see `top_items`; what is `seen` is scored -inf, in place.

    Raises `ConfigError` where n is no length of a list.
    """
    require_list_length(n)
    for position_N, item_N in seen:
        score_BI[on_device(position_N, score_BI.device), on_device(item_N, score_BI.device)] = -torch.inf
    return top_items(score_BI, n)


def known_users(model: Model, user_B: NDArray[np.int64], order: Order) -> Asked:
    """Users by dense index, with what their order needs."""
    index_B = on_device(user_B, model.device)
    belief = model.uncertainty.belief("users", model.users, index_B) if order.needs_beliefs else None
    return Asked(model.users.vector_RK[index_B], belief, user_B)


def recommend(
    model: Model, user_ids: list[str], n: int, include_seen: bool, also_seen: str | None, order: Order
) -> list[Recommendations]:
    """One list for each raw user id; see `Model.recommend`."""
    user_U = model.user_ids.find(user_ids)
    lists: list[Recommendations] = []
    score, step = scorer(model, order), users_per_block(model.items.num_rows)
    if order.needs_beliefs:
        step = min(step, model.uncertainty.pairs_at_once())
    elsewhere = None if also_seen is None else DatasetRatings(also_seen, model.item_ids)
    for start in range(0, len(user_ids), step):
        part = slice(start, start + step)
        seen = [] if include_seen else [model.train_ratings.of_users(user_U[part])]
        if elsewhere is not None:
            seen.append(elsewhere.of_users(user_ids[part]))
        ranked = best_items(score(known_users(model, user_U[part], order)), n, seen)
        lists += _lists(model, user_ids[part], user_U[part], *ranked)
    return lists


def _lists(
    model: Model, user_ids: list[str], user_B: NDArray[np.int64], item_Bn: torch.Tensor, score_Bn: torch.Tensor
) -> list[Recommendations]:
    """Predict all wanted items of a block of users at once, then cut the result into lists."""
    is_wanted_Bn = ~score_Bn.isneginf()
    item_N, count_B = item_Bn[is_wanted_Bn].cpu().numpy(), is_wanted_Bn.sum(1).cpu().numpy()
    user_N = np.repeat(user_B, count_B)
    rating_N = model.predict_indices(user_N, item_N)
    std_N = model.std_indices(user_N, item_N) if model.knows_uncertainty else None
    ids_N, titles_N = describe(model, item_N)
    lists, stops_B = [], np.cumsum(count_B).tolist()
    for user_id, start, stop in zip(user_ids, [0, *stops_B], stops_B, strict=False):
        part = slice(start, stop)
        std = None if std_N is None else std_N[part]
        lists.append(Recommendations(user_id, ids_N[part], titles_N[part], rating_N[part], std))
    return lists


def describe(model: Model, item_N: NDArray[np.int64]) -> tuple[list[str], list[str | None]]:
    """Raw ids and titles of items."""
    return model.item_ids.take(item_N), model.titles.take(pa.array(item_N)).to_pylist()
