"""The errors of an epoch in gradient descent, as one rank adds them up and a saved state keeps them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.metrics import ErrorSums


class EpochSums:
    """Squared errors, absolute errors and count of this rank's part of an epoch so far."""

    def __init__(self, collectives: Collectives) -> None:
        self._collectives = collectives
        self.reset()

    def reset(self) -> None:
        """An epoch begins."""
        self._sums_3 = torch.zeros(3, dtype=torch.float64, device=self._collectives.world.device)

    def add(self, error_N: torch.Tensor) -> None:
        """Errors of predictions, of any floating type."""
        error_N = error_N.detach().double()
        self._sums_3[0] += error_N.square().sum()
        self._sums_3[1] += error_N.abs().sum()
        self._sums_3[2] += len(error_N)

    @property
    def squared(self) -> torch.Tensor:
        """Of this rank: [1]"""
        return self._sums_3[:1].clone()

    def total(self) -> ErrorSums:
        """Over all ranks, which enter together."""
        squared, absolute, count = self._collectives.sum_(self._sums_3.clone()).tolist()
        return ErrorSums(squared, absolute, int(count))

    def saved(self, within_epoch: bool) -> list[list[float]]:
        """Those of each rank; between epochs one row of zeros, the same on any number of ranks."""
        if within_epoch:
            return self._collectives.gather_json(self._sums_3.tolist())
        return [[0.0, 0.0, 0.0]]

    def load(self, saved: Sequence[Sequence[float]]) -> None:
        """What `saved` returned on any number of ranks; on another number the first rank takes all."""
        world = self._collectives.world
        sums = torch.tensor(saved, dtype=torch.float64, device=world.device)
        is_same_world = len(sums) == world.size
        self._sums_3 = sums[world.rank].clone() if is_same_world else sums.sum(0) * int(world.is_first)
