"""The sparse solution: each rank solves its items on their neighbourhoods, from all interactions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.distributed.world import World
from recsys_dist.families.ease.training.interactions import Csr
from recsys_dist.families.ease.training.neighborhoods import Neighborhoods
from recsys_dist.families.ease.training.penalty import Penalty
from recsys_dist.families.ease.training.weights import Weights

STEPS = 64
"""Pauses, equally many on each rank; about as many as the exact solution of a large matrix has."""


class SparseSolver:
    """Solves for the own items, step by step. `value_Un` holds the interactions of all users, on every rank."""

    def __init__(
        self,
        value_Un: Csr,
        penalty: Penalty,
        num_neighbors: int,
        keep: int | None,
        scale_n: torch.Tensor,
        world: World,
    ) -> None:
        self._neighborhoods = Neighborhoods(value_Un, penalty, num_neighbors)
        edges = equal_shares(self._neighborhoods.cost_n, world.size)
        start, stop = edges[world.rank], edges[world.rank + 1]
        num_neighbors = self._neighborhoods.num_neighbors
        self._edges = start + equal_shares(self._neighborhoods.cost_n[start:stop], STEPS)
        keep = min(keep or num_neighbors, num_neighbors)
        self.weights = Weights(start, stop, value_Un.shape[1], keep, scale_n)
        """Of the own items; complete after all steps."""

    def steps(self) -> Iterator[None]:
        """Do the work; pauses after each step."""
        for step in range(STEPS):
            for start, stop in self._neighborhoods.batches(int(self._edges[step]), int(self._edges[step + 1])):
                source_RK, weight_RK = self._neighborhoods.solve(start, stop)
                self.weights.put(start, torch.from_numpy(weight_RK), torch.from_numpy(source_RK))
            yield


def equal_shares(cost_n: NDArray[np.floating], num_shares: int) -> NDArray[np.int64]:
    """Edges [num_shares + 1] of consecutive ranges with about equal costs."""
    cumulative = np.concatenate([[0.0], np.cumsum(cost_n, dtype=np.float64)])
    targets = cumulative[-1] * np.arange(num_shares + 1) / num_shares
    edges: NDArray[np.int64] = np.searchsorted(cumulative, targets).astype(np.int64)
    edges[0], edges[-1] = 0, len(cost_n)
    return edges
