"""Ranks items for blocks of users: scores by a criterion, of the items that lists may contain.

B users of a block, I items, C candidates, n places of a list
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.inference.criterion import RankingCriterion, score_by, users_at_once
from recsys_dist.inference.items.choice import ItemChoice
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.seen import SeenPairs
from recsys_dist.inference.top import best_items
from recsys_dist.protocols.scorer import on_device

ITEMS_PER_PAIR = 128
"""Candidates are predicted pair by pair if there are this many times as many items. On CPU cores a pair takes as
long as 60 to 180 items in a product of matrices, for 16 and 64 factors."""
PAIR_FLOATS, LEAST_ROW = 8, 1024
"""Numbers of memory that the prediction of one pair takes, and at least those of a user."""


class Ranker:
    """Selects the best items of users, by one criterion and among the items of one choice."""

    def __init__(self, predictor: Predictor, order: RankingCriterion, choice: ItemChoice) -> None:
        self._predictor, self._order, self._choice = predictor, order, choice
        self._score = score_by(predictor, order)
        item_C, num_items = choice.item_C, predictor.catalog.num_items
        self._item_C = None if item_C is None else on_device(item_C, predictor.device)
        self._excluded = on_device(choice.excluded, predictor.device)
        num_candidates = num_items if item_C is None else len(item_C)
        self.is_by_pairs = not order.needs_uncertainty and ITEMS_PER_PAIR * num_candidates <= num_items
        """Whether the candidates are few enough to be predicted pair by pair."""
        self.row_floats = max(LEAST_ROW, PAIR_FLOATS * num_candidates) if self.is_by_pairs else num_items
        """Numbers of memory that the scores of one user take."""

    def users_at_once(self, most: int) -> int:
        """Users of a block: `most`, or fewer if the criterion needs more memory."""
        return users_at_once(self._predictor, self._order, most)

    def best(
        self,
        users: Any,
        key_B: NDArray[np.int64],
        n: int,
        seen: Sequence[SeenPairs],
        only: SeenPairs | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Items and scores of the n best of each of B users, see `top_items`; `seen` items are left out.

        `key_B` are the keys of the users for the criterion. `only` are the candidates of each user, if users have
        their own. Raises `ConfigError` if n is not a whole number, 1 or more.
        """
        score_BC = self._scores(users, key_B, only)
        place_Bn, score_Bn = best_items(score_BC, n, [self._choice.places(pairs) for pairs in seen])
        return (place_Bn if self._item_C is None else self._item_C[place_Bn]), score_Bn

    def _scores(self, users: Any, key_B: NDArray[np.int64], only: SeenPairs | None) -> torch.Tensor:
        """Scores of the candidates [B, C], or of all items [B, I], -inf if an item is not to be listed."""
        if self._item_C is not None and self.is_by_pairs:
            return self._of_pairs(users, len(key_B), self._item_C)
        score_BI = self._score(users, key_B)
        if self._item_C is not None:
            return score_BI.index_select(1, self._item_C)
        score_BI[:, self._excluded] = -torch.inf
        return score_BI if only is None else _only(score_BI, only)

    def _of_pairs(self, users: Any, num_users: int, item_C: torch.Tensor) -> torch.Tensor:
        row_N = torch.arange(num_users, device=item_C.device).repeat_interleave(len(item_C))
        score_N = self._predictor.scorer.ratings(users, row_N, item_C.repeat(num_users))
        return score_N.view(num_users, len(item_C))


def _only(score_BI: torch.Tensor, pairs: SeenPairs) -> torch.Tensor:
    """The scores of these pairs; -inf for all others."""
    position_N, item_N = (on_device(index, score_BI.device) for index in pairs)
    kept_BI = torch.full_like(score_BI, -torch.inf)
    kept_BI[position_N, item_N] = score_BI[position_N, item_N]
    return kept_BI
