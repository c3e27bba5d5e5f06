"""Items in tiles, the most promising first, and upper bounds of the scores in each tile.

By Cauchy-Schwarz the score of an item is at most bias + |user vector| |item vector|. The largest of these in a
tile is a convex function of the norm of the user. So between two norms at which it is known, it is at most the
interpolated value.

B users of a block, I items, V items that lists may contain, S tiles, T places of a tile, G norms of users, K width
"""

from __future__ import annotations

import torch

from recsys_dist.inference.pruning.running_best import GROUP
from recsys_dist.protocols.scorer import ItemVectors

TILE = 1024
"""T, a multiple of `GROUP`. With 2,048 users the scores of a tile take 8 MiB, which the caches hold."""
NUM_NORMS = 16
CHUNK_ROWS = 1 << 13
TINIEST = torch.finfo(torch.float32).tiny


class ItemTiles:
    """Tiles in descending order of their bounds for a user of average norm.

    `norm_B` are the norms of typical users: they choose the order, and where the bounds are tight.
    """

    def __init__(self, items: ItemVectors, item_V: torch.Tensor, norm_B: torch.Tensor, width: int = TILE) -> None:
        self.width, self._vector_IK, num_items = width, items.vector_IK, len(items.bias_I)
        norm_V, high_V, self.is_finite = _largest(items, item_V)
        order_V = (high_V + norm_B.median() * norm_V).argsort(descending=True, stable=True)
        self.item_ST = _dealt(_in_tiles(item_V[order_V], num_items, width))
        """Item of each place; I, which is no item, fills the last tile."""
        self._row_ST = self.item_ST.clamp(max=num_items - 1)
        self._bias_ST = items.bias_I[self._row_ST].where(self.item_ST < num_items, -torch.inf)
        self.place_I = _places(self.item_ST, num_items)
        """Tile * T + place of each item; -1 for items of no list."""
        self._norm_G = _spread(norm_B)
        bounds = [high_V + norm * norm_V for norm in self._norm_G.tolist()]
        self._bound_GS = torch.stack(
            [_in_tiles(bound_V[order_V], -torch.inf, width).amax(1) for bound_V in bounds]
        )
        slope_GS = self._bound_GS.diff(dim=0) / self._norm_G.diff().unsqueeze(1)
        steepest_S = _in_tiles(norm_V[order_V], 0.0, width).amax(1)
        self._slope_GS = torch.cat([slope_GS, steepest_S.unsqueeze(0)])

    def bounds(self, norm_B: torch.Tensor) -> torch.Tensor:
        """No score that is computed in float32 in a tile exceeds its bound: float64 [S, B]"""
        cell_B = torch.searchsorted(self._norm_G, norm_B, right=True) - 1
        beyond_B = (norm_B - self._norm_G[cell_B]).unsqueeze(1)
        return (self._bound_GS[cell_B] + beyond_B * self._slope_GS[cell_B]).T.contiguous()

    def vectors(self, tile: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors [T, K] and biases [T] of a tile; -inf at places without an item."""
        return self._vector_IK.index_select(0, self._row_ST[tile]), self._bias_ST[tile]


def norms(vector_RK: torch.Tensor) -> torch.Tensor:
    """Euclidean norms: float64 [R]"""
    norm_R: torch.Tensor = torch.linalg.vector_norm(vector_RK.double(), dim=1)
    return norm_R


def _largest(items: ItemVectors, item_V: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Norms and biases that bound computed scores, float64 [V] each, and whether all of them are finite."""
    norm_V = torch.cat([norms(items.vector_IK[item_R]) for item_R in item_V.split(CHUNK_ROWS)])
    bias_V = items.bias_I[item_V].double()
    # Each of the K + 1 roundings adds at most 2^-24 of |bias| + the sum of |products|, or the tiniest number.
    slack = (items.vector_IK.shape[1] + 4) * 2.0**-23
    is_finite = bool(norm_V.isfinite().all() and bias_V.isfinite().all())
    return norm_V * (1 + slack), bias_V + bias_V.abs() * slack + TINIEST, is_finite


def _spread(norm_B: torch.Tensor) -> torch.Tensor:
    """0 and quantiles of the norms, distinct and ascending: [G]"""
    share_G = torch.linspace(0, 1, NUM_NORMS, dtype=torch.float64)
    norm_G: torch.Tensor = torch.cat([norm_B.new_zeros(1), torch.quantile(norm_B, share_G)]).unique()
    return norm_G


def _places(item_ST: torch.Tensor, num_items: int) -> torch.Tensor:
    place_I = torch.full((num_items + 1,), -1, dtype=torch.int32)
    place_I[item_ST.flatten()] = torch.arange(item_ST.numel(), dtype=torch.int32)
    place_I[num_items] = -1
    return place_I


def _dealt(item_ST: torch.Tensor) -> torch.Tensor:
    """Deal the items of each tile out to its groups, so that each group has some of the most promising."""
    num_tiles, width = item_ST.shape
    return item_ST.view(num_tiles, GROUP, width // GROUP).transpose(1, 2).reshape(num_tiles, width)


def _in_tiles(value_V: torch.Tensor, fill: float, width: int) -> torch.Tensor:
    """Values row by row, the last row filled up: [S, T]"""
    missing = -len(value_V) % width
    return torch.cat([value_V, value_V.new_full((missing,), fill)]).view(-1, width)
