"""A matrix factorization sharded over ranks, and the EM steps shared by all kinds of posteriors.

    users     a rank owns whole user shards           items     a rank owns a range of items

Where there are far more items than users, the items are called users here: families/mf/ranks/rating_matrix.py.
E steps: full_factorization.py, diagonal_factorization.py; exchange: families/mf/ranks/exchange.py; rows: side.py.
Every method is collective. Formulas and shapes: see families/mf/em/layout.py; R own rows, X any width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import TrainingError
from recsys_dist.families.mf.em import m_step
from recsys_dist.families.mf.em.layout import PanelLayout
from recsys_dist.families.mf.em.m_step import SideSums
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.ranks.block_sums import BlockSums
from recsys_dist.families.mf.ranks.exchange import Exchange, Shards
from recsys_dist.families.mf.ranks.item_partition import ItemPartition
from recsys_dist.families.mf.ranks.rating_shards import RatingPairs, RatingShards
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.constraints import Constraints
from recsys_dist.families.mf.training.failures import not_finite
from recsys_dist.families.mf.training.search import Form
from recsys_dist.families.mf.training.side import FactorSide
from recsys_dist.kernels.sparse import Tables
from recsys_dist.metrics import ErrorSums

INITIAL_STD = 0.1
INITIAL_VARIANCE = 0.2
"""Of the factors and of their priors before the first epoch, in units of the ratings."""
LEAST_NOISE = 1e-6
"""Least noise variance, as a share of the variance of the ratings; float32 moments resolve no smaller error."""
LEAST_RANGE = 1e-15
"""Least range of ratings that differ: float32 nearly rounds smaller squares to 0."""
LEAST_VARIANCE = 1e-7
"""Least prior variance, in units of the ratings."""

SideT = TypeVar("SideT", bound=FactorSide)


class Factorization(ABC, Generic[SideT]):
    """Posteriors, priors and noise of one rank's users and items."""

    user_sums: SideSums
    item_sums: SideSums

    def __init__(
        self,
        settings: MfSettings,
        factors: int,
        shards: RatingShards,
        partition: ItemPartition,
        collectives: Collectives,
    ) -> None:
        self._matrix, self._settings, self._collectives = shards.matrix, settings, collectives
        self._device = collectives.world.device
        self.shards = shards
        self.exchange = Exchange(shards, collectives, partition.owners, partition.travel_blocks)
        self._item_batches = partition.own_solve_blocks(collectives.world.rank)
        item_counts = [len(partition.own_solve_blocks(rank)) for rank in range(collectives.world.size)]
        self._over_items = BlockSums(self._item_batches, item_counts, collectives)
        user_counts = [len(share) for share in shards.matrix.shares(collectives.world.size)]
        self._over_users = BlockSums(shards.row_slices(), user_counts, collectives)
        self.solve_blocks = partition.solve_blocks
        self.form = Form(constrained="none", regularization=1.0, noise="shared")
        prior = Prior.isotropic(factors + 1, 1.0, self._device)
        users, items = (PanelLayout.of(side, factors, self._device) for side in ("users", "items"))
        first, last = self.exchange.own_items
        self.users = self._make_side(users, shards.first_row, shards.num_rows, prior, sums_errors=False)
        self.items = self._make_side(items, first, last - first, prior, sums_errors=True)
        self._constraints = Constraints(
            {"users": self.users, "items": self.items},
            {"users": self._to_users, "items": self._to_items},
            {"users": self._over_users, "items": self._over_items},
        )
        self.noise_variance = self.unit_variance = 1.0
        self.num_ratings = 0

    @staticmethod
    @abstractmethod
    def rows_at_once(factors: int) -> int:
        """Rows that are solved together; depends only on the model size."""

    @staticmethod
    @abstractmethod
    def row_floats(factors: int, with_constraint: bool = True, with_precision: bool = True) -> int:
        """Numbers per item in the widest exchange."""

    @abstractmethod
    def _make_side(
        self, layout: PanelLayout, start: int, num_rows: int, prior: Prior, *, sums_errors: bool
    ) -> SideT:
        """Make the rows of one side before the first epoch."""

    @property
    def unit_variance(self) -> float:
        """Variance of the ratings."""
        return self._unit_variance

    @unit_variance.setter
    def unit_variance(self, variance: float) -> None:
        self._unit_variance = variance
        self.users.least_error = self.items.least_error = LEAST_NOISE * variance

    def count(self, shards: Shards) -> None:
        """Count the ratings of each row and in total, and sum their squares, over some shards."""
        ones_I1, ones_U1 = (
            torch.ones((side.num_rows, 1), dtype=torch.float32, device=self._device)
            for side in (self.items, self.users)
        )
        self.users.count_R.zero_()
        self.users.square_R.zero_()
        for shard, sums in self.exchange.to_users(Tables([ones_I1], None, ones_I1), shards):
            self.users.count_R[shard.rows], self.users.square_R[shard.rows] = (part[:, 0] for part in sums.members)
        ones = Tables([ones_U1], None, ones_U1)
        sums = self.exchange.to_items(lambda shard: ones.rows(shard.rows.start, shard.rows.stop), ones, shards)
        self.items.count_R, self.items.square_R = (part[:, 0].contiguous() for part in sums.members)
        blocks_B2 = torch.stack([self.items.count_R, self.items.square_R], 1)
        count, self._square_sum = self._over_items.of(blocks_B2).tolist()
        self.num_ratings = int(count)
        if self.num_ratings == 0:
            raise TrainingError(f"{self._matrix.url} has no train ratings")
        for side in (self.users, self.items):
            side.root_R1 = side.count_R.clamp(min=1).rsqrt().mul_(side.count_R > 0).float().unsqueeze(1)
        self._constraints.take_counts()

    def start(self, seed: int) -> None:
        """Initial values: item factors keyed by (seed, block), priors in units of the ratings."""
        rating = self._matrix.manifest.rating
        if 0 < rating.max - rating.min < LEAST_RANGE:
            raise TrainingError(
                f"ratings from {rating.min:g} to {rating.max:g} are too close to each other for their squares in "
                "float32; rescale them"
            )
        std = math.sqrt(self._square_sum / self.num_ratings) or 1.0
        self.noise_variance = self.unit_variance = std**2
        n = self.items.layout.num_own
        # A product p . q has the unit of a rating, so p and q each have the unit of its square root.
        variance_n = torch.full((n,), INITIAL_VARIANCE * std, dtype=torch.float64, device=self._device)
        variance_n[-1] *= std
        prior = Prior(torch.zeros_like(variance_n), torch.diag(variance_n))
        self._set_priors(prior, prior)
        for number, (start, stop) in enumerate(self.solve_blocks):
            if self.items.start <= start < self.items.start + self.items.num_rows:
                mean_nB = math.sqrt(std) * initial_factors(seed, number, stop - start, n)
                here = slice(start - self.items.start, stop - self.items.start)
                self.items.mean_nR[:, here] = mean_nB.to(self._device)

    def _set_priors(self, user_prior: Prior, item_prior: Prior) -> None:
        if self._settings.prior == "fixed":
            # Ridge: with Lambda = lambda / sigma^2, sigma^2 cancels from the posterior means.
            variance = self.noise_variance / self._settings.regularization
            user_prior = item_prior = Prior.isotropic(self.users.layout.num_own, variance, self._device)
        self.users.prior, self.items.prior = user_prior, item_prior

    def take_form(self, form: Form) -> None:
        """Switch to another form of the model; keep the state that both forms share."""
        self.form = form
        names: dict[Side, Side] = {"users": self._matrix.staying, "items": self._matrix.travelling}
        self._constraints.take_form({side for side, name in names.items() if form.constrained in {name, "both"}})
        for side, name in ((self.users, names["users"]), (self.items, names["items"])):
            side.differ(form.noise in {name, "both"})
        self._constraints.measure(form.regularization)

    @abstractmethod
    def solve_users(self, shards: Shards) -> None:
        """E step of the users of some shards, given the current items."""

    @abstractmethod
    def solve_items(self) -> None:
        """E step of the items, given the users of the shards of the last `solve_users`."""

    def resume(self, user_sums_S: torch.Tensor) -> None:
        """Restore the state after `solve_users` with all shards, from the current users and the sums over them."""
        self.user_sums = SideSums(user_sums_S, self.users.layout)
        if self.items.constraint_Rn is not None:
            (self.users.shift_Rn,) = self._to_users([self.items.constraint_Rn])
        self._prepare_items()

    @abstractmethod
    def _prepare_items(self) -> None:
        """Gather from the current users of all shards what `solve_items` begins with."""

    def _sums(self, sums_BS: list[torch.Tensor], side: FactorSide) -> SideSums:
        size = (0, m_step.num_sums(side.layout.num_own))
        empty = torch.zeros(size, dtype=torch.float64, device=self._device)
        sums_S = self._collectives.sum_blocks(torch.stack(sums_BS) if sums_BS else empty)
        if not torch.isfinite(sums_S).all():
            self._name_failure(side)
        return SideSums(sums_S, side.layout)

    def _name_failure(self, side: FactorSide) -> None:
        """Raise on every rank and name the first row that could not be solved."""
        name = (self._matrix.staying if side is self.users else self._matrix.travelling)[:-1]
        failed = [row for row in self._collectives.gather_json(side.failed_row) if row is not None]
        raise not_finite(name, failed, self.noise_variance, self._matrix.manifest.rating, self._settings)

    @property
    def squared_error(self) -> float:
        """Expected squared error over the ratings after `solve_items`, weighted by the precisions."""
        # With a perfect fit, sums of float32 moments may cancel below their resolution.
        return max(self.item_sums.squared_error, LEAST_NOISE * self.unit_variance * self.num_ratings)

    def maximise(self) -> None:
        """M step: noise, priors, priors of precisions, and constraints; the same on every rank."""
        if self._settings.prior == "adaptive" or self._settings.posterior == "point":
            self.noise_variance = self.squared_error / self.num_ratings
        else:
            sides = [(self.user_sums, self.users.layout), (self.item_sums, self.items.layout)]
            self.noise_variance = m_step.ridge_noise(
                self.squared_error, self.num_ratings, sides, self._settings.regularization
            )
        self.noise_variance = max(self.noise_variance, LEAST_NOISE * self.unit_variance)
        priors = self.users.prior, self.items.prior
        if self._settings.prior == "adaptive":
            least = LEAST_VARIANCE * math.sqrt(self.unit_variance)
            priors = (
                m_step.adapted_prior(self.user_sums, self.users.prior, self.users.constraint_nn, least),
                m_step.adapted_prior(self.item_sums, self.items.prior, self.items.constraint_nn, least),
            )
        self._set_priors(*priors)
        for side, sums in ((self.users, self.user_sums), (self.items, self.item_sums)):
            if side.precision_R is not None:
                side.dof = m_step.adapted_dof(sums)
        self._solve_constraints()

    def _solve_constraints(self) -> None:
        self._constraints.refine(self.form.regularization)
        self._constraints.measure(self.form.regularization)

    def _to_users(self, tables: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Sum over the rated items of each own user: own item rows [R, X] -> own user rows [R, X]."""
        sums = [rows_IX.new_empty((self.users.num_rows, rows_IX.shape[1])) for rows_IX in tables]
        for shard, gathered in self.exchange.to_users(Tables(tables), self.shards.__iter__):
            for sums_UX, part_UX in zip(sums, gathered.plain, strict=True):
                sums_UX[shard.rows] = part_UX
        return sums

    def _to_items(self, tables: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Sum over the users who rated each own item: own user rows [R, X] -> own item rows [R, X]."""
        own = Tables(tables)
        sums = self.exchange.to_items(
            lambda shard: own.rows(shard.rows.start, shard.rows.stop), own, self.shards.__iter__
        )
        return [sums_IX.float() for sums_IX in sums.plain]

    def bound(self) -> float:
        """The likelihood bound over the rated users and items, after `solve_items`.

        With `posterior: full` and a fixed form of the model, no epoch lowers it by more than the rounding of
        float32 statistics, about 1e-7 of it. With `point` it is not a bound; with `point` and `prior: fixed` it is
        the objective of alternating ridge, which no epoch lowers either.
        """
        if self._settings.posterior == "point" and self._settings.prior == "fixed":
            return self._ridge_gain()
        bound = m_step.log_likelihood(self.squared_error, self.num_ratings, self.noise_variance)
        for side, sums in ((self.users, self.user_sums), (self.items, self.item_sums)):
            bound -= m_step.divergence(sums, side.prior, side.layout.num_own)
            if side.constraint_nn is not None:
                # The constraint's own prior: -1/2 trace(Lambda lambda W^T W), up to a constant.
                bound -= 0.5 * float((side.prior.precision_nn * side.constraint_nn).sum())
        return bound

    def _ridge_gain(self) -> float:
        """-N/2 log(J / N) with J = sum of (r~ - a . z)^2 + lambda (|x|^2 + |y|^2), over N ratings.

        A log likelihood up to a constant: it rises by x per rating if J falls by the fraction 2 x.
        """
        squares = self._over_users.of(self.users.mean_nR.T.square()).sum()
        squares += self._over_items.of(self.items.mean_nR.T.square()).sum()
        penalised = self.squared_error + self._settings.regularization * float(squares)
        return -0.5 * self.num_ratings * math.log(penalised / self.num_ratings)

    def errors(self, pairs_of: Callable[[int], RatingPairs]) -> ErrorSums:
        """Errors over the pairs that `pairs_of` returns per own shard, summed over all ranks in shard order."""
        pairs = [pairs_of(index) for index in self.shards.own]
        predicted = [np.zeros(len(one.rating), np.float32) for one in pairs]
        user_vectors_UD = self.users.vectors(self.users.all_rows)
        for (start, stop), tables in self.exchange.travel(Tables([self.items.vectors(self.items.all_rows)])):
            for values, one in zip(predicted, pairs, strict=True):
                here = (one.item >= start) & (one.item < stop)
                vectors_ND = tables.plain[0][one.item[here] - start]
                # a_u . z_i
                score_N = (user_vectors_UD[one.user_row[here]] * vectors_ND).sum(1)
                values[here.cpu().numpy()] = score_N.cpu().numpy()
        sums_B3 = torch.zeros((len(pairs), 3), dtype=torch.float64, device=self._device)
        limits = self._matrix.manifest.rating
        for row, (values, one) in enumerate(zip(predicted, pairs, strict=True)):
            errors = ErrorSums.of((values + limits.mean).clip(limits.min, limits.max), one.rating)
            sums_B3[row] = sums_B3.new_tensor([errors.squared, errors.absolute, errors.count])
        squared, absolute, count = self._collectives.sum_blocks(sums_B3).tolist()
        return ErrorSums(squared, absolute, int(count))


def initial_factors(seed: int, block: int, num_rows: int, num_own: int) -> torch.Tensor:
    """Unit-free initial means [n, B] of one block of items: small factors, no bias. On the CPU."""
    rng = np.random.default_rng([seed, block])
    mean_Bn = rng.normal(0.0, INITIAL_STD, (num_rows, num_own)).astype(np.float32)
    mean_Bn[:, -1] = 0.0
    return torch.from_numpy(mean_Bn).T
