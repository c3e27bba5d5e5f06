"""Plan of a matrix factorization: memory, traffic, checkpoint and work of each rank.

U users and I items of a rank, N its ratings, K factors, n = K + 1, T = n (n + 1) / 2 numbers of a covariance,
X numbers of an item in exchange, see families/mf/ranks/exchange.py. Where there are far more items than users, the
two sides change places, see families/mf/ranks/rating_matrix.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from recsys_dist.dataset.manifest import SIDES, Manifest, Side
from recsys_dist.dataset.sharding import row_ranges
from recsys_dist.families.mf.em.e_step import batch_rows
from recsys_dist.families.mf.em.layout import packed_size, panel_widths
from recsys_dist.families.mf.num_factors import mean_length, num_factors
from recsys_dist.families.mf.ranks.item_partition import RATING_BYTES, ItemPartition, keeps_ratings
from recsys_dist.families.mf.ranks.rating_matrix import FAR_MORE, RatingMatrix, sides_of
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.diagonal_factorization import SOLVE_STEPS
from recsys_dist.families.mf.training.factorization import Factorization
from recsys_dist.families.mf.training.requirements import block_refusal, item_partition, least_limit, rating_matrix
from recsys_dist.families.mf.training.search import Search
from recsys_dist.families.mf.training.trainer import kind_of
from recsys_dist.families.tuning_holdout import can_judge
from recsys_dist.protocols.plan import ModelPlan, PlanSetup, RankPlan, Saving

FLOAT, DOUBLE, INDEX = 4, 8, 4
CONSTRAINT_SUMS = 5
"""Sums in each direction for both constraints, with two steps each: see families/mf/ranks/exchange.py."""
GATHERED_NS, ADDED_NS, SAMPLED_NS = 0.047, 1.3, 3.0
"""Nanoseconds of a gathered number, of one added to the sums of items, and of an entry of sums over entries."""
STATISTIC_NS, ROW_NS, DIAGONAL_ROW_NS = 9.0, 140.0, 740.0
"""Nanoseconds of each of the X numbers of a row, and of a row beside them."""
CALLS_NS = 8.3e6
"""Nanoseconds of the calls of an epoch."""
LEAST_FACTORS = 4
SAMPLE_RATINGS = 2_000_000
"""A sample to measure the time on has at most twice as many."""


def plan_mf(setup: PlanSetup[MfSettings]) -> ModelPlan[MfSettings]:
    """The plan with the widest form that the settings leave open."""
    sizes = _Sizes.of(setup)
    settled = _settled(setup)
    ranks = [sizes.rank(rank) for rank in range(setup.num_ranks)]
    mean = mean_length(setup.dataset.manifest)
    number = f"{sizes.factors} factors to begin with, for {mean:.3g} train ratings of a row"
    return ModelPlan(
        ranks=ranks,
        checkpoint={
            "users": setup.dataset.num_users * sizes.saved_floats * FLOAT,
            "items": setup.dataset.num_items * sizes.saved_floats * FLOAT,
        },
        settled=settled,
        thinned=_thinned(setup.dataset.manifest),
        savings=list(_savings(setup, sizes.factors)),
        refusal=block_refusal(sizes.matrix, sizes.factors, setup.memory_limit, kind_of(setup.settings)),
        note=number if setup.settings.factors == "auto" else None,
    )


def _thinned(manifest: Manifest) -> Sequence[Side]:
    """The longer side; both where the side that stays might become another one in a sample."""
    users, items = manifest.num_users, manifest.num_items
    share = min(1.0, SAMPLE_RATINGS / max(1, manifest.num_ratings["train"]))
    if sides_of(manifest)[0] == "items" or (users >= items >= FAR_MORE * users * share):
        return SIDES
    return ("users",) if users >= items else ("items",)


def _settled(setup: PlanSetup[MfSettings]) -> MfSettings:
    """The settings with the widest form that the search may choose, so that nothing is left to search for."""
    settings = setup.settings
    changes: dict[str, Any] = {"tolerance": 0.0}
    factors = num_factors(settings, setup.dataset.manifest)
    if Search.start(settings, can_judge(setup.dataset.manifest), factors).is_searching:
        changes["factors"] = factors
        changes["constrained"] = "both" if settings.constrained == "auto" else settings.constrained
        changes["noise"] = "both" if settings.noise == "auto" else settings.noise
        changes["constrained_regularization"] = settings.constrained_regularization or 2.0
    return settings.model_copy(update=changes)


def _savings(setup: PlanSetup[MfSettings], factors: int) -> Iterator[Saving]:
    room = min((free for free in setup.free if free is not None), default=None)
    if room is not None:
        for share in (2, 4, 8):
            if setup.memory_limit is None or room // share < setup.memory_limit:
                yield "training.memory_limit", f"{max(1, room // share >> 20)}MiB"
    yield (
        "training.memory_limit",
        f"{least_limit(setup.dataset.num_items, factors, kind_of(setup.settings)) >> 10}KiB",
    )
    while factors > LEAST_FACTORS:
        factors //= 2
        yield "model.factors", factors


@dataclass(frozen=True)
class _Sizes:
    """Numbers of a row, and the partition of the rows."""

    setup: PlanSetup[MfSettings]
    matrix: RatingMatrix
    kind: type[Factorization[Any]]
    factors: int
    row_floats: int
    """X"""
    constrained_sides: int
    has_precisions: bool
    partition: ItemPartition

    @classmethod
    def of(cls, setup: PlanSetup[MfSettings]) -> _Sizes:
        settled, kind = _settled(setup), kind_of(setup.settings)
        factors = num_factors(settled, setup.dataset.manifest)
        constrained = {"users": 1, "items": 1, "both": 2}.get(settled.constrained, 0)
        has_precisions = settled.noise in {"users", "both"}
        matrix = rating_matrix(setup.dataset, setup.settings, setup.memory_limit, kind)
        partition = item_partition(matrix, factors, kind, setup.num_ranks, setup.memory_limit)
        row_floats = kind.row_floats(factors, constrained > 0, has_precisions)
        return cls(setup, matrix, kind, factors, row_floats, constrained, has_precisions, partition)

    @property
    def is_diagonal(self) -> bool:
        return self.setup.settings.posterior == "diagonal"

    @property
    def own(self) -> int:
        """n"""
        return self.factors + 1

    @property
    def saved_floats(self) -> int:
        """Numbers of a row in a checkpoint."""
        covariance = self.own if self.is_diagonal else packed_size(self.own)
        return self.own + covariance + self.own * (self.constrained_sides > 0) + self.has_precisions

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a side."""
        # Beside the posterior: two sums of moments with diagonal posteriors; sums of the other side's constraint;
        # two counts.
        gathered = 2 * self.own + 2 if self.is_diagonal else 0
        gathered += self.own * (self.constrained_sides > 0)
        return FLOAT * (self.saved_floats + gathered) + 2 * DOUBLE

    def rank(self, rank: int) -> RankPlan:
        """The part of one rank."""
        setup, shards = self.setup, self.matrix.shards
        shares = self.matrix.shares(setup.num_ranks)
        first, last = row_ranges(shards, shares)[rank]
        num_ratings = sum(shards[index].num_ratings for index in shares[rank])
        num_users, num_items = last - first, self.partition.owners[rank][1] - self.partition.owners[rank][0]
        largest_users = max((shards[index].num_rows for index in shares[rank]), default=0)
        largest_ratings = max((shards[index].num_ratings for index in shares[rank]), default=0)
        keeps = keeps_ratings(self.matrix.manifest, setup.num_ranks, setup.memory_limit)
        # A shard has rows for the items that it rates, if these are few.
        places = sum(min(shards[index].num_ratings, self.matrix.num_travelling) for index in shares[rank])
        pointers = (places + len(shares[rank]) + num_users) * INDEX
        tables = {
            self.matrix.staying: num_users * self.row_bytes,
            self.matrix.travelling: num_items * self.row_bytes,
            "ratings": num_ratings * RATING_BYTES + pointers if keeps else 0,
            f"{self.matrix.travelling} in exchange": self._exchanged(num_items),
        }
        reading = largest_ratings * RATING_BYTES * (1 if keeps else 2)
        return RankPlan(
            tables=tables,
            working_bytes=max(self._solving(largest_users), reading),
            received_bytes=self._received(num_items),
            work=self._work(num_ratings, num_users + num_items, places),
            copied_bytes=(num_users + num_items) * FLOAT * self.saved_floats,
        )

    def _exchanged(self, num_items: int) -> int:
        """Own item rows, those of one block of all ranks, and the sums back, of the block and of the own items."""
        block = max(stop - start for start, stop in self.partition.travel_blocks)
        is_alone = self.setup.num_ranks == 1
        rows = num_items + (0 if is_alone and len(self.partition.travel_blocks) == 1 else block)
        sums = block + (0 if is_alone else num_items)
        return self.row_floats * (rows * FLOAT + sums * DOUBLE)

    def _solving(self, num_users: int) -> int:
        """The sums and the tables of the users of one shard, and a batch of solves."""
        shard = 2 * num_users * self.row_floats * FLOAT
        if self.is_diagonal:
            return shard
        n = self.own
        solve = 3 * sum(panel_widths(self.factors)) + 2 * n * (n + 1) + packed_size(n)
        return shard + batch_rows(n) * solve * FLOAT

    def _received(self, num_items: int) -> int:
        """Rows of the others, the sums of the others for the own items, and vectors for the validation."""
        others, ranks = self.matrix.num_travelling - num_items, self.setup.num_ranks - 1
        out, back = self.row_floats + self.own + 1, self.row_floats
        if self.is_diagonal:
            vector = self.own + 1
            # Residuals and products of both sides; squared errors of the items, and of users with precisions.
            sums = 1 + SOLVE_STEPS
            out += (sums + self.has_precisions) * (vector + self.has_precisions) + (sums + 1) * vector
            back += sums * vector + 1
        if self.constrained_sides:
            out += CONSTRAINT_SUMS * self.own * self.constrained_sides // 2
            back += CONSTRAINT_SUMS * self.own * self.constrained_sides // 2
        return others * out * FLOAT + ranks * num_items * back * DOUBLE

    def _work(self, num_ratings: int, num_rows: int, places: int) -> float:
        numbers = self.row_floats + CONSTRAINT_SUMS * self.own * self.constrained_sides // 2
        sampled, of_row = 0, ROW_NS
        if self.is_diagonal:
            sampled, of_row = 2 * (2 + SOLVE_STEPS), DIAGONAL_ROW_NS
            numbers += sampled * (self.own + 1)
        ratings = num_ratings * (2 * numbers * GATHERED_NS + sampled * SAMPLED_NS)
        rows = num_rows * (self.row_floats * STATISTIC_NS + of_row)
        # Every shard adds its sums to those of the items that it rates.
        added = places * numbers * ADDED_NS
        return ratings + rows + added + CALLS_NS
