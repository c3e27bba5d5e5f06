"""Plan of iALS: memory, traffic, checkpoint and work of each rank.

R rows of one side on a rank, C rows of the other side, N interactions, K factors, B rows of a shard
"""

from __future__ import annotations

from collections.abc import Iterator

from recsys_dist.dataset.loader import other_side
from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.dataset.sharding import row_ranges, share_shards
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training.interactions import RATING_BYTES, keeps_interactions
from recsys_dist.families.ials.training.row_batches import BATCH_FLOATS
from recsys_dist.families.ials.training.row_solver import STEPS
from recsys_dist.families.ials.training.search import FIRST_REGULARIZATION, FIRST_WEIGHT
from recsys_dist.families.targets import TARGETS
from recsys_dist.protocols.plan import ModelPlan, PlanSetup, RankPlan, Saving

FLOAT, DOUBLE = 4, 8
BATCH_TENSORS = 3
"""Tensors of a batch of about `BATCH_FLOATS` numbers."""
READING_BYTES = 40
"""Bytes of an interaction of a shard while its batches are made."""
ENTRY_NS, INTERACTION_NS = 0.13, 20.0
"""Nanoseconds of a number of an interaction in a pass, and of an interaction beside them."""
BASIS_NS, GRAM_NS, ROW_NS = 0.07, 0.05, 400.0
"""Nanoseconds of one of K^2 of a row in a change of basis and in the Gramian, and of a row beside them."""
CALLS_NS = 6e6
"""Nanoseconds of the calls of an epoch, for each side."""
LEAST_FACTORS = 8


def plan_ials(setup: PlanSetup[IalsSettings]) -> ModelPlan[IalsSettings]:
    """The plan with a penalty that is given."""
    settings, dataset = setup.settings, setup.dataset
    settled = settings.model_copy(
        update={
            "regularization": settings.regularization or FIRST_REGULARIZATION,
            "unobserved_weight": settings.unobserved_weight or FIRST_WEIGHT,
            "target": settings.target or TARGETS[0],
            "tolerance": 0.0,
        }
    )
    return ModelPlan(
        ranks=[_rank(setup, rank) for rank in range(setup.num_ranks)],
        checkpoint={side: dataset.num_rows(side) * settings.factors * FLOAT for side in SIDES},
        settled=settled,
        thinned=("users",) if dataset.num_users >= dataset.num_items else ("items",),
        savings=list(_savings(setup)),
    )


def _savings(setup: PlanSetup[IalsSettings]) -> Iterator[Saving]:
    room = min((free for free in setup.free if free is not None), default=None)
    if room is not None and (setup.memory_limit is None or room // 4 < setup.memory_limit):
        yield "training.memory_limit", f"{max(1, room // 4 >> 20)}MiB"
    factors = setup.settings.factors
    while factors > LEAST_FACTORS:
        factors //= 2
        yield "model.factors", factors


def _rank(setup: PlanSetup[IalsSettings], rank: int) -> RankPlan:
    sides = [_Side(setup, side, rank) for side in SIDES]
    return RankPlan(
        tables={
            **{f"{one.side}": one.vector_bytes for one in sides},
            "interactions": sum(one.kept_bytes for one in sides),
            # The rows of the other side in the basis of its Gramian: the own ones, and those of all ranks.
            "vectors in exchange": max(one.exchanged_bytes for one in sides),
        },
        working_bytes=max(one.working_bytes for one in sides),
        received_bytes=sum(one.received_bytes for one in sides),
        work=sum(one.work for one in sides),
    )


class _Side:
    """The rows of one side on one rank."""

    def __init__(self, setup: PlanSetup[IalsSettings], side: Side, rank: int) -> None:
        self.side, self._setup, self._factors = side, setup, setup.settings.factors
        shards = setup.dataset.shards(side)
        shares = share_shards(shards, setup.num_ranks)
        first, last = row_ranges(shards, shares)[rank]
        self._num_rows, self._num_all = last - first, setup.dataset.num_rows(side)
        self._shards = [shards[index] for index in shares[rank]]
        self._num_others = setup.dataset.num_rows(other_side(side))

    @property
    def _num_ratings(self) -> int:
        return sum(shard.num_ratings for shard in self._shards)

    @property
    def vector_bytes(self) -> int:
        """Bytes of the own vectors."""
        return self._num_rows * self._factors * FLOAT

    @property
    def kept_bytes(self) -> int:
        """Bytes of the interactions, if they are kept."""
        setup = self._setup
        keeps = keeps_interactions(setup.dataset.manifest, setup.num_ranks, setup.memory_limit)
        return self._num_ratings * RATING_BYTES if keeps else 0

    @property
    def exchanged_bytes(self) -> int:
        """Bytes of the rotated own vectors and, on several ranks, of those of all."""
        rows = self._num_rows + (self._num_all if self._setup.num_ranks > 1 else 0)
        return rows * self._factors * FLOAT

    @property
    def working_bytes(self) -> int:
        """Of the penalty of a shard in float64 or of batches of solves, for each thread; or of a shard to read."""
        threads = self._setup.num_threads
        rows = sorted((shard.num_rows for shard in self._shards), reverse=True)[:threads]
        penalty = 2 * DOUBLE * self._factors * sum(rows)
        batches = threads * BATCH_TENSORS * BATCH_FLOATS["cpu"] * FLOAT
        reading = READING_BYTES * max((shard.num_ratings for shard in self._shards), default=0)
        return max(penalty, batches, reading)

    @property
    def received_bytes(self) -> int:
        """Bytes of the vectors of the others."""
        return (self._num_all - self._num_rows) * self._factors * FLOAT

    @property
    def work(self) -> float:
        """Of solving the own rows, changing their basis and adding up their Gramian."""
        # A gather, then sums and products: two of each at the start and in each step.
        passes = 1 + 2 * (1 + STEPS)
        factors = self._factors
        rows = factors**2 * (3 * BASIS_NS + GRAM_NS) + ROW_NS
        entries = factors * passes * ENTRY_NS + INTERACTION_NS
        return self._num_ratings * entries + self._num_rows * rows + CALLS_NS
