"""Items in tiles, the most promising first, and upper bounds of the scores in each tile.

By Cauchy-Schwarz the score of an item is at most bias + |user vector| |item vector|. As a function of the norm of the
user, the largest of these in a tile is convex, so it lies below its chords: between two norms at which it is known, it
is at most the interpolated value.

B users of a block, I items, V items that lists may contain, S tiles, T places of a tile, G norms of users, K width
"""

from __future__ import annotations

import torch

from recsys_dist.inference.pruning.running_best import GROUP
from recsys_dist.protocols.scorer import ItemVectors

TILE = 1024
"""T: a power of two. With 2,048 users the scores of a tile take 8 MiB, which the caches hold."""
GRID = 16
CHUNK_ROWS = 1 << 16
TINIEST = torch.finfo(torch.float32).tiny


class ItemTiles:
    """Tiles in descending order of their bounds for a user of average norm."""

    def __init__(self, items: ItemVectors, item_V: torch.Tensor, norm_B: torch.Tensor) -> None:
        """`norm_B` are the norms of typical users: they choose the order and where bounds are tight."""
        self._vector_IK, num_items = items.vector_IK, len(items.bias_I)
        norm_V, bias_V = _norms(items.vector_IK, item_V), items.bias_I[item_V]
        self.is_finite = bool(norm_V.isfinite().all() and bias_V.isfinite().all())
        # A computed score exceeds the exact one by at most (K + 1) roundings of 2^-24, relative to this bound.
        slack = (items.vector_IK.shape[1] + 4) * 2.0**-23
        norm_V, high_V = norm_V * (1 + slack), bias_V.double() + bias_V.double().abs() * slack + TINIEST
        order_V = (high_V + norm_B.median() * norm_V).argsort(descending=True, stable=True)
        self.item_ST = _dealt(_in_tiles(item_V[order_V], num_items))
        """Item of each place; I, which is no item, fills the last tile."""
        is_filled_ST = self.item_ST < num_items
        self._row_ST = self.item_ST.clamp(max=num_items - 1)
        self._bias_ST = items.bias_I[self._row_ST].where(is_filled_ST, -torch.inf)
        self.place_I = torch.full((num_items + 1,), -1, dtype=torch.int32)
        """Tile * T + place of each item; -1 for items of no list."""
        self.place_I[self.item_ST.flatten()] = torch.arange(self.item_ST.numel(), dtype=torch.int32)
        self.place_I[num_items] = -1
        self._grid_G = torch.quantile(norm_B[: 1 << 16], torch.linspace(0, 1, GRID, dtype=torch.float64))
        self._grid_G = torch.cat([self._grid_G.new_zeros(1), self._grid_G]).unique()
        self._bound_GS = torch.stack(
            [_in_tiles((high_V + norm * norm_V)[order_V], -torch.inf).amax(1) for norm in self._grid_G.tolist()]
        )
        steepest_S = _in_tiles(norm_V[order_V], 0.0).amax(1)
        slope_GS = self._bound_GS.diff(dim=0) / self._grid_G.diff().unsqueeze(1)
        self._slope_GS = torch.cat([slope_GS, steepest_S.unsqueeze(0)])

    def bounds(self, norm_B: torch.Tensor) -> torch.Tensor:
        """No score that is computed in float32 in a tile exceeds its bound: float64 [S, B]"""
        cell_B = torch.searchsorted(self._grid_G, norm_B, right=True) - 1
        bound_BS = self._bound_GS[cell_B] + (norm_B - self._grid_G[cell_B]).unsqueeze(1) * self._slope_GS[cell_B]
        return bound_BS.T.contiguous()

    def vectors(self, tile: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors [T, K] and biases [T] of a tile; -inf at places without an item."""
        return self._vector_IK[self._row_ST[tile]], self._bias_ST[tile]


def norms(vector_RK: torch.Tensor) -> torch.Tensor:
    """Euclidean norms: float64 [R]"""
    return torch.linalg.vector_norm(vector_RK.double(), dim=1)


def _norms(vector_IK: torch.Tensor, item_V: torch.Tensor) -> torch.Tensor:
    return torch.cat([norms(vector_IK[item_R]) for item_R in item_V.split(CHUNK_ROWS)])


def _dealt(item_ST: torch.Tensor) -> torch.Tensor:
    """Deal the items of each tile out to its groups, so that each group has some of the most promising."""
    return item_ST.unflatten(1, (GROUP, -1)).transpose(1, 2).flatten(1)


def _in_tiles(value_V: torch.Tensor, fill: float) -> torch.Tensor:
    """Values row by row, the last row filled up: [S, T]"""
    missing = -len(value_V) % TILE
    return torch.cat([value_V, value_V.new_full((missing,), fill)]).view(-1, TILE)
