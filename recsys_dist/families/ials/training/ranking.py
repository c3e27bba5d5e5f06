"""nDCG@10 of the lists of judged users on withheld ratings, to choose settings by.

All items are ranked except those that the search trains on. Withheld ratings of at least the train mean are
relevant.

N pairs of a user and an item, B users of a block, I items
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset, Ratings
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.ials.training.alternation import Alternation
from recsys_dist.families.ials.training.holdout import RankingHoldout
from recsys_dist.families.ials.training.interactions import SideInteractions
from recsys_dist.families.ials.training.workers import on_all_threads
from recsys_dist.families.targets import Target
from recsys_dist.metrics import ndcg_sums

TOP = 10
BLOCK_FLOATS = 1 << 22
"""Scores of a block of users: they stay in the cache of a core, or nearly so."""


@dataclass(frozen=True)
class JudgedUsers:
    """Users of one block, with pairs as positions in `row_B` and items."""

    row_B: torch.Tensor
    """Rows relative to the first user of this rank."""
    seen: tuple[torch.Tensor, torch.Tensor]
    wanted_N: NDArray[np.int64]
    """Relevant pairs, each as one number: position x I + item; ascending."""


class RankingJudge:
    """The judged users of this rank, read once."""

    def __init__(
        self,
        dataset: Dataset,
        users: SideInteractions,
        target: Target,
        holdout: RankingHoldout,
        collectives: Collectives,
    ) -> None:
        """Read the withheld ratings of the shards that `users` owns."""
        self._dataset, self._target, self._holdout = dataset, target, holdout
        self._first_user, self._collectives = users.start, collectives
        self._shards = collectives.together(
            "reading the withheld ratings", lambda: [self._read(shard) for shard in users.own_shards]
        )

    def ndcg(self, model: Alternation) -> tuple[float, int]:
        """Mean nDCG of the users with a relevant rating, and their number; the same on every rank."""
        device = self._collectives.world.device
        item_IK = model.gathered("items")
        blocks = [block for shard in self._shards for block in shard]
        parts = on_all_threads(lambda block: _judge(block, model.vectors["users"], item_IK), blocks, device)
        sums_S2, start = torch.zeros((len(self._shards), 2), dtype=torch.float64, device=device), 0
        for row, shard in enumerate(self._shards):
            sums_S2[row] = torch.from_numpy(sum(parts[start : start + len(shard)], np.zeros(2))).to(device)
            start += len(shard)
        ndcg, users = self._collectives.sum_blocks(sums_S2).tolist()
        return ndcg / max(1.0, users), int(users)

    def _read(self, shard: int) -> list[JudgedUsers]:
        train, wanted = self._train_and_wanted(shard)
        user_U = np.unique(wanted.user_index)
        step = max(1, BLOCK_FLOATS // self._dataset.num_items)
        return [self._block(user_U[at : at + step], train, wanted) for at in range(0, len(user_U), step)]

    def _train_and_wanted(self, shard: int) -> tuple[Ratings, Ratings]:
        """What the judged users of a shard have been trained on, and what their lists should hold."""
        train = self._judged(self._dataset.ratings("train", shard))
        withheld_N = self._holdout.is_withheld(train.user_index, train.item_index)
        wanted = _only(train, withheld_N)
        if not self._holdout.withheld_share:
            wanted = self._judged(self._dataset.ratings("valid", shard))
        return _only(train, ~withheld_N), _only(wanted, self._target.is_relevant(wanted.rating))

    def _judged(self, ratings: Ratings) -> Ratings:
        return _only(ratings, self._holdout.is_judged(ratings.user_index))

    def _block(self, user_B: NDArray[np.int64], train: Ratings, wanted: Ratings) -> JudgedUsers:
        device, num_items = self._collectives.world.device, self._dataset.num_items
        (seen_N, seen_item_N), (wanted_N, wanted_item_N) = (_pairs_of(user_B, one) for one in (train, wanted))
        seen = torch.from_numpy(seen_N).to(device), torch.from_numpy(seen_item_N).to(device)
        relevant_N = np.sort(wanted_N * num_items + wanted_item_N)
        return JudgedUsers(torch.from_numpy(user_B - self._first_user).to(device), seen, relevant_N)


def _only(ratings: Ratings, chosen_N: NDArray[np.bool_]) -> Ratings:
    return Ratings(ratings.user_index[chosen_N], ratings.item_index[chosen_N], ratings.rating[chosen_N])


def _pairs_of(user_B: NDArray[np.int64], ratings: Ratings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position in `user_B` and item of the ratings of these users, which ascend."""
    mine_N = np.isin(ratings.user_index, user_B)
    return np.searchsorted(user_B, ratings.user_index[mine_N]), ratings.item_index[mine_N]


def _judge(block: JudgedUsers, user_RK: torch.Tensor, item_IK: torch.Tensor) -> NDArray[np.float64]:
    """`ndcg_sums` of the users of a block."""
    score_BI = user_RK[block.row_B] @ item_IK.T
    score_BI[block.seen] = -torch.inf
    num_users, num_items = score_BI.shape
    score_Bn, item_Bn = (part.cpu().numpy() for part in score_BI.topk(min(TOP, num_items), dim=1))
    listed_Bn = np.arange(num_users)[:, None] * num_items + item_Bn
    is_hit_Bn = np.isin(listed_Bn, block.wanted_N) & ~np.isneginf(score_Bn)
    return ndcg_sums(is_hit_Bn, np.bincount(block.wanted_N // num_items, minlength=num_users))
