"""Alternating least squares over ranks: the vectors of both sides, and solves of one side given the other.

    item vectors --all-gather--> every rank; Gramian of the items: sums of canonical shards
    each rank solves its own users against them; then the same with the sides swapped

Each rank owns whole shards of both sides (Mehta et al. 2021). Batches of rows lie within shards, and sums are
added in the order of shards, so the same bits result on any number of ranks. Every method is collective.

R rows of one side on this rank, C rows of the other side on all ranks, K factors, B rows of a batch
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.loader import other_side
from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import SharedError
from recsys_dist.families.ials.objective import Penalty
from recsys_dist.families.ials.training.holdout import RankingHoldout
from recsys_dist.families.ials.training.interactions import ShardBatches, SideInteractions
from recsys_dist.families.ials.training.row_batches import RowBatch, batch_entries
from recsys_dist.families.ials.training.row_solver import Basis, RowSolver
from recsys_dist.families.ials.training.workers import on_all_threads
from recsys_dist.families.targets import Target

INITIAL_STD = 0.1
"""Standard deviation of the length of an initial vector."""
GRAM_ROWS = 8192
"""Rows whose products are added in one go, in float64."""


class Alternation:
    """The vectors of this rank's users and items."""

    def __init__(
        self,
        dataset: Dataset,
        target: Target,
        factors: int,
        collectives: Collectives,
        memory_limit: int | None = None,
        holdout: RankingHoldout | None = None,
    ) -> None:
        """With a `holdout`, only the ratings that the search trains on."""
        self._dataset, self._collectives, self.factors = dataset, collectives, factors
        world = collectives.world
        self._device, most_entries = world.device, batch_entries(factors, world.device)
        self.sides: Mapping[Side, SideInteractions] = {
            side: SideInteractions(dataset, side, world, target, most_entries, memory_limit, holdout)
            for side in SIDES
        }
        self.vectors: Mapping[Side, torch.Tensor] = {
            side: torch.zeros((rows.num_rows, factors), dtype=torch.float32, device=self._device)
            for side, rows in self.sides.items()
        }
        num_users = round(dataset.num_users * (1.0 if holdout is None else holdout.sampled_share))
        self._num_trained: Mapping[Side, int] = {"users": num_users, "items": dataset.num_items}
        self.num_interactions = 0
        """Of all ranks, after `read`."""

    def read(self) -> None:
        """Read the interactions. Raises `TrainingError` if there are none, or if a rank cannot read its own."""
        self._collectives.together("reading the train ratings", self._read)
        users = self.sides["users"]
        counts = [int(users.count_R[users.shard_rows(index)].sum()) for index in users.own_shards]
        self.num_interactions = int(self._total(counts))
        if not self.num_interactions:
            raise SharedError(f"{self._dataset.folder.url} has no interactions to train on; use model.target: all")

    def _read(self) -> None:
        for side in self.sides.values():
            side.read()

    def start(self, seed: int) -> None:
        """Set random initial vectors, keyed by seed, side and shard."""
        for number, (side, rows) in enumerate(self.sides.items()):
            for shard in rows.own_shards:
                here = self.vectors[side][rows.shard_rows(shard)]
                drawn = np.random.default_rng([seed, number, shard]).standard_normal(here.shape, np.float32)
                here.copy_(torch.from_numpy(drawn * np.float32(INITIAL_STD / math.sqrt(self.factors))))

    def epoch(self, penalty: Penalty) -> float:
        """Solve the items given the users, then the users given the items; returns the objective."""
        self.solve("items", penalty)
        return self.solve("users", penalty)

    def solve(self, side: Side, penalty: Penalty) -> float:
        """Solve the rows of one side; returns the objective afterwards, the same on every rank."""
        other, rows, vector_RK = other_side(side), self.sides[side], self.vectors[side]
        basis = Basis.of(self._gram(other))
        table_CK = self._gathered(self._rotated(other, basis), other)
        solver = RowSolver(table_CK, penalty.unobserved_weight * basis.value_K)
        # Rows without interactions have the solution 0.
        vector_RK[torch.from_numpy(np.flatnonzero(rows.count_R == 0)).to(self._device)] = 0

        def solve_batch(batch: RowBatch) -> float:
            penalty_B = (
                torch.from_numpy(penalty.of_rows(batch.count_B, self._num_trained[other])).to(self._device).float()
            )
            solved = solver.solve(batch, penalty_B, vector_RK[batch.row_B] @ basis.vector_KK)
            vector_RK[batch.row_B] = solved.vector_BK @ basis.vector_KK.T
            return float(solved.objective_B.sum())

        sums: list[float] = []
        for group in rows.groups():
            parts = on_all_threads(
                solve_batch, [batch for shard in group for batch in shard.batches], self._device
            )
            sums += _shard_sums(group, parts)
        objective = self._total(sums) + self._penalty_of(other, penalty)
        if not math.isfinite(objective):
            now = f"now {penalty.regularization:g}"
            raise SharedError(f"the vectors of {side} are not finite; raise model.regularization ({now})")
        return objective

    def _rotated(self, side: Side, basis: Basis) -> torch.Tensor:
        """The own vectors of a side in another basis: [R, K]"""
        rows, vector_RK = self.sides[side], self.vectors[side]
        rotated_RK = torch.empty_like(vector_RK)

        # Shard by shard and from a copy: the bits of a product depend on sizes and on alignment in memory.
        def rotate(shard: int) -> None:
            here = rows.shard_rows(shard)
            rotated_RK[here] = vector_RK[here].clone() @ basis.vector_KK

        on_all_threads(rotate, rows.own_shards, self._device)
        return rotated_RK

    def gathered(self, side: Side) -> torch.Tensor:
        """The vectors of all rows of a side, read-only: [C, K]"""
        return self._gathered(self.vectors[side], side)

    def _gathered(self, vector_RK: torch.Tensor, side: Side) -> torch.Tensor:
        return self._collectives.gather_rows(vector_RK, self.sides[side].row_ranges)

    def _gram(self, side: Side) -> torch.Tensor:
        """Sum of x x^T over all rows of a side: float64 [K, K]"""
        rows, vector_RK = self.sides[side], self.vectors[side]
        parts = on_all_threads(
            _second_moment, [vector_RK[rows.shard_rows(shard)] for shard in rows.own_shards], self._device
        )
        empty = torch.zeros((0, self.factors, self.factors), dtype=torch.float64, device=self._device)
        return self._collectives.sum_blocks(torch.stack(parts) if parts else empty)

    def _penalty_of(self, side: Side, penalty: Penalty) -> float:
        """The sum of lambda_r |x_r|^2 over all rows of a side."""
        rows, vector_RK = self.sides[side], self.vectors[side]
        num_others = self._num_trained[other_side(side)]
        penalty_R = torch.from_numpy(penalty.of_rows(rows.count_R, num_others)).to(self._device)

        def shard_penalty(shard: int) -> float:
            here = rows.shard_rows(shard)
            return float((vector_RK[here].double().square().sum(1) * penalty_R[here]).sum())

        return self._total(on_all_threads(shard_penalty, rows.own_shards, self._device))

    def _total(self, shard_sums: Sequence[float]) -> float:
        """Sum over the shards of all ranks, in their order."""
        sums_S = torch.tensor(shard_sums, dtype=torch.float64, device=self._device)
        return float(self._collectives.sum_blocks(sums_S))


def _second_moment(vector_RK: torch.Tensor) -> torch.Tensor:
    moment_KK = vector_RK.new_zeros((vector_RK.shape[1],) * 2, dtype=torch.float64)
    for rows_BK in vector_RK.split(GRAM_ROWS):
        wide_BK = rows_BK.double()
        moment_KK.addmm_(wide_BK.T, wide_BK)
    return moment_KK


def _shard_sums(group: Sequence[ShardBatches], parts: Sequence[float]) -> list[float]:
    """Add up the parts of each shard's batches."""
    sums, start = [], 0
    for shard in group:
        stop = start + len(shard.batches)
        sums.append(math.fsum(parts[start:stop]))
        start = stop
    return sums
