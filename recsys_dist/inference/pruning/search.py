"""The best items of blocks of users, tile by tile: those of a stable sort of all scores.

A user whose n-th best score exceeds the bound of a tile skips the tile.

B users of a block, R users of a tile, V items that lists may contain, S tiles, T places of a tile, K width, n
places of a list, N seen pairs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from recsys_dist.inference.criterion import RankingCriterion
from recsys_dist.inference.items.choice import ItemChoice
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.pruning.item_tiles import TILE, ItemTiles, norms
from recsys_dist.inference.pruning.running_best import RunningBest
from recsys_dist.inference.seen import SeenPairs
from recsys_dist.kernels.exact_product import TileProduct
from recsys_dist.protocols.scorer import ProductScorer, on_device

MOST_USERS, MOST_BOUNDS = 2048, 1 << 23
LARGEST = 1e38
"""Scores up to here are finite, as are all sums on the way to them."""
LEAST_ITEMS, MOST_PLACES = 4096, 256
"""With fewer items or longer lists there is little to skip."""


def pruned_search(
    predictor: Predictor, order: RankingCriterion, choice: ItemChoice, n: int
) -> PrunedSearch | None:
    """The search for these lists; None if scores are no products, or if it would save little."""
    scorer = predictor.scorer
    if order.needs_uncertainty or predictor.device.type != "cpu" or not isinstance(scorer, ProductScorer):
        return None
    item_V = choice.listed(predictor.catalog.num_items)
    if scorer.item_vectors is None or len(item_V) < LEAST_ITEMS or n > MOST_PLACES:
        return None
    num_users = len(predictor.catalog.user_ids)
    some = np.linspace(0, num_users - 1, min(num_users, MOST_USERS)).astype(np.int64)
    return PrunedSearch(scorer, on_device(item_V, predictor.device), n, predictor.known(some))


class PrunedSearch:
    """Searches among the items `item_V`, ascending, of a scorer on a CPU, for n items, in tiles of `width`.

    `typical` are some users by whose norms the items are sorted; lists do not depend on them. Threads may share
    the search.
    """

    def __init__(
        self, scorer: ProductScorer[Any], item_V: torch.Tensor, n: int, typical: Any, width: int = TILE
    ) -> None:
        self._scorer, self._n = scorer, min(n, len(item_V))
        items, norm_B = scorer.item_vectors, norms(scorer.user_vectors(typical))
        assert items is not None, "the caller has made sure that scores are products"
        self._product = TileProduct(items.vector_IK.shape[1])
        self._tiles = ItemTiles(items, item_V, norm_B.where(norm_B.isfinite(), 0.0), width)
        self.users_at_once = max(1, min(MOST_USERS, MOST_BOUNDS // len(self._tiles.item_ST)))
        """B, which bounds memory."""

    def best(self, users: Any, seen: Sequence[SeenPairs]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Items and scores of the n best of each of B users, best first; -inf if nothing is left: [B, n] each.

        None if scores are not finite or might overflow.
        """
        vector_BK = self._scorer.user_vectors(users)
        norm_B = norms(vector_BK)
        if not self._tiles.is_finite or not norm_B.isfinite().all():
            return None
        bound_SB = self._tiles.bounds(norm_B)
        if not (bound_SB <= LARGEST).all():
            return None
        best = RunningBest(len(vector_BK), self._n)
        hidden = _Hidden(self._tiles, seen, len(vector_BK))
        for tile, bound_B in enumerate(bound_SB):
            row_R = (bound_B >= best.threshold_B).nonzero().squeeze(1)
            if len(row_R):
                vector_RK = vector_BK if len(row_R) == len(vector_BK) else vector_BK[row_R]
                score_RT = self._product(vector_RK, *self._tiles.vectors(tile))
                hidden.hide(tile, row_R, score_RT)
                best.add(row_R, score_RT, self._tiles.item_ST[tile])
        return best.lists()


class _Hidden:
    """Seen items, by tile."""

    def __init__(self, tiles: ItemTiles, seen: Sequence[SeenPairs], num_users: int) -> None:
        empty = np.empty(0, np.int64)
        user_N = np.concatenate([empty, *(position_N for position_N, _ in seen)])
        place_N = tiles.place_I.numpy()[np.concatenate([empty, *(item_N for _, item_N in seen)])]
        tile_N, num_tiles = place_N // tiles.width, len(tiles.item_ST)
        if num_tiles < 1 << 15:
            # NumPy sorts these in linear time.
            tile_N = tile_N.astype(np.int16)
        order_N = np.argsort(tile_N, kind="stable")
        self._user_N, self._place_N = user_N[order_N], place_N[order_N] % tiles.width
        self._stops = np.searchsorted(tile_N[order_N], np.arange(num_tiles + 1)).tolist()
        self._row_B = np.empty(num_users, np.int64)

    def hide(self, tile: int, row_R: torch.Tensor, score_RT: torch.Tensor) -> None:
        """Set the scores of what the users `row_R` have seen to -inf."""
        here = slice(*self._stops[tile : tile + 2])
        row_N, place_N = self._user_N[here], self._place_N[here]
        if len(row_R) < len(self._row_B):
            self._row_B[:] = -1
            self._row_B[row_R.numpy()] = np.arange(len(row_R))
            row_N = self._row_B[row_N]
            row_N, place_N = row_N[row_N >= 0], place_N[row_N >= 0]
        score_RT.numpy()[row_N, place_N] = -np.inf
