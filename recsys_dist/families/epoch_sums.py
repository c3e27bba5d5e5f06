"""Error sums of an epoch of gradient descent, accumulated per rank and saved in checkpoints."""

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
        """Start a new epoch."""
        self._sums_3 = torch.zeros(3, dtype=torch.float64, device=self._collectives.world.device)

    def add(self, error_N: torch.Tensor) -> None:
        """Add errors of predictions, of any floating type."""
        error_N = error_N.detach().double()
        self._sums_3[0] += error_N.square().sum()
        self._sums_3[1] += error_N.abs().sum()
        self._sums_3[2] += len(error_N)

    @property
    def squared(self) -> torch.Tensor:
        """Squared errors of this rank: [1]"""
        return self._sums_3[:1].clone()

    def total(self) -> ErrorSums:
        """Sums over all ranks. Collective: all ranks must call it."""
        squared, absolute, count = self._collectives.sum_(self._sums_3.clone()).tolist()
        return ErrorSums(squared, absolute, int(count))

    def saved(self, within_epoch: bool) -> list[list[float]]:
        """The sums of each rank; between epochs one row of zeros, on any number of ranks."""
        if within_epoch:
            return self._collectives.gather_json(self._sums_3.tolist())
        return [[0.0, 0.0, 0.0]]

    def load(self, saved: Sequence[Sequence[float]]) -> None:
        """Restore the result of `saved`. If the number of ranks has changed, the first rank takes all sums."""
        world = self._collectives.world
        sums = torch.tensor(saved, dtype=torch.float64, device=world.device)
        is_same_world = len(sums) == world.size
        self._sums_3 = sums[world.rank].clone() if is_same_world else sums.sum(0) * int(world.is_first)
