"""Matrix factorization by EM on one rank: its user shards, its range of items, and the sums between ranks.

    users     sharded: a rank owns whole user shards; their moments are formed shard by shard and dropped
    items     the table of moments is replicated; the solves are sharded by blocks of items

    one epoch:  item statistics --reduce-scatter--> owners solve their items --all-gather--> item moments
                sums of both sides --all-reduce--> priors and noise
                user shards: gather items, solve, add to the item statistics of the next epoch

So users are always up to date with the items that predict with them. Shapes: see models/factors.py, and I items.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.data.dataset import Dataset, row_ranges, share_shards
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import TrainingError
from recsys_dist.metrics import ErrorSums
from recsys_dist.models import em
from recsys_dist.models.em import Posterior, Prior
from recsys_dist.models.factors import Layout, Panels, augmented, packed_size, second_moments
from recsys_dist.training.config import MfSettings
from recsys_dist.training.em_ratings import UserShard, ValidPairs, read_user_shard, read_valid_pairs
from recsys_dist.training.trainer import EpochResult

LEAST_ITEM_BLOCKS = 16
"""So that a few ranks share even a short list of items."""
CHUNK_ROWS = 1024
INITIAL_STD = 0.1
INITIAL_VARIANCE = 0.2
"""Of the factors and of their priors before the first epoch, in units of the ratings."""
LEAST_NOISE = 1e-6
"""Of the variance of the ratings: float32 moments resolve no smaller error, and no data is known that exactly."""
LEAST_VARIANCE = 1e-7
"""Of a prior, in units of the ratings."""


class EmTrainer:
    """Trainer of `model.kind: mf`; see training/trainer.py for the protocol."""

    def __init__(self, dataset: Dataset, settings: MfSettings, seed: int, collectives: Collectives) -> None:
        self.epochs_done = 0
        self._dataset, self._settings, self._collectives = dataset, settings, collectives
        self._device = collectives.world.device
        self._users = Layout.of("users", settings.factors, self._device)
        self._items = Layout.of("items", settings.factors, self._device)
        self._point = settings.posterior == "point"
        self._mean_rating = dataset.manifest.rating.mean
        self._load_ratings()
        self._share_items()
        self._start(seed)

    def _load_ratings(self) -> None:
        """Read this rank's user shards and make the transposes, once."""
        shards = self._dataset.shards("users")
        shares = share_shards(shards, self._collectives.world.size)
        self._user_range = row_ranges(shards, shares)[self._collectives.world.rank]
        own = shares[self._collectives.world.rank]
        self._shards = self._collectives.together(
            "reading the train ratings",
            lambda: [read_user_shard(self._dataset, index, self._device) for index in own],
        )
        self._valid: list[ValidPairs] | None = None
        sums_B2 = torch.zeros((len(self._shards), 2), dtype=torch.float64, device=self._device)
        for row, shard in enumerate(self._shards):
            sums_B2[row, 0] = shard.ratings.values.double().square().sum()
            sums_B2[row, 1] = shard.ratings.num_entries
        square_sum, count_sum = self._collectives.sum_blocks(sums_B2).tolist()
        self._square_sum, self._num_ratings = square_sum, int(count_sum)
        if self._num_ratings == 0:
            raise TrainingError(f"{self._dataset.folder.url} has no train ratings")

    def _share_items(self) -> None:
        """Cut the items into canonical blocks of solves and deal consecutive blocks to ranks."""
        num_items, size = self._dataset.num_items, self._collectives.world.size
        step = min(em.batch_rows(self._items.num_own), -(-num_items // LEAST_ITEM_BLOCKS))
        self._item_blocks = [(row, min(row + step, num_items)) for row in range(0, num_items, step)]
        cuts = [len(self._item_blocks) * rank // size for rank in range(size + 1)]
        edges = [0, *(stop for _, stop in self._item_blocks)]
        self._item_ranges = [(edges[a], edges[b]) for a, b in itertools.pairwise(cuts)]
        self._own_item_blocks = self._item_blocks[
            cuts[self._collectives.world.rank] : cuts[self._collectives.world.rank + 1]
        ]
        self._item_range = self._item_ranges[self._collectives.world.rank]
        rated = torch.from_numpy(self._dataset.num_train("items") > 0)
        self._item_rated = rated.to(self._device)

    def _start(self, seed: int) -> None:
        """Starting values: item factors keyed by (seed, block), priors in units of the ratings."""
        n, std = self._items.num_own, math.sqrt(self._square_sum / self._num_ratings) or 1.0
        self._noise_variance = self._unit_variance = std**2
        # A product p . q has the unit of a rating, so that p and q each have the unit of its root.
        variance_n = torch.full((n,), INITIAL_VARIANCE * std, dtype=torch.float64, device=self._device)
        variance_n[-1] *= std
        prior = Prior(torch.zeros_like(variance_n), torch.diag(variance_n))
        self._set_priors(prior, prior)
        means = [
            math.sqrt(std) * initial_factors(seed, block, stop - start, n)
            for block, (start, stop) in enumerate(self._item_blocks)
        ]
        mean_In = torch.cat(means).to(self._device)
        self._set_items_from(mean_In, mean_In.new_zeros((len(mean_In), packed_size(n))))

    def _set_priors(self, user_prior: Prior, item_prior: Prior) -> None:
        if self._settings.prior == "fixed":
            # Ridge: Lambda = lambda / sigma^2, so that sigma^2 cancels from the posterior means.
            variance = self._noise_variance / self._settings.regularization
            user_prior = item_prior = Prior.isotropic(self._users.num_own, variance, self._device)
        self._user_prior, self._item_prior = user_prior, item_prior

    def _set_items_from(self, mean_In: torch.Tensor, covariance_IT: torch.Tensor) -> None:
        """Take posteriors of all items, and form their moments here."""
        vectors_ID, moments = augmented(mean_In, self._items), Panels(len(mean_In), self._items, mean_In)
        for start, stop in self._item_blocks:
            covariance_TB = None if self._point else covariance_IT[start:stop].T.contiguous()
            moments.put(start, second_moments(vectors_ID[start:stop], covariance_TB, self._items))
        first, last = self._item_range
        self._set_items(mean_In, moments.panels, covariance_IT[first:last])

    def _set_items(self, mean_In: torch.Tensor, moments: list[torch.Tensor], covariance_RT: torch.Tensor) -> None:
        """Take means and moments (panels) of all items, covariances of this rank's; users are out of date then."""
        self._item_mean_In, self._item_moments, self._item_covariance_RT = mean_In, moments, covariance_RT
        self._item_vectors_ID = augmented(mean_In, self._items)
        self._statistics: list[torch.Tensor] | None = None

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:  # noqa: ARG002 - an epoch is a second or so
        """Solve the items, then priors and noise, then the users against the new items."""
        self._bring_users_up_to_date()
        squared_error, item_sums = self._solve_items()
        if not math.isfinite(squared_error):
            raise TrainingError(
                f"the numbers are not finite in epoch {self.epochs_done + 1} (noise variance "
                f"{self._noise_variance:g}); use posterior=full with prior=adaptive, or raise model.regularization"
            )
        bound = self._bound(squared_error, item_sums)
        self._maximise(squared_error, item_sums)
        self._bring_users_up_to_date()
        self.epochs_done += 1
        extra = {"noise_std": math.sqrt(self._noise_variance), "bound": bound}
        return EpochResult(ErrorSums(squared_error, math.nan, self._num_ratings), extra)

    def _maximise(self, squared_error: float, item_sums: torch.Tensor) -> None:
        """M step: noise, then priors; the same on every rank."""
        if self._settings.prior == "adaptive" or self._point:
            self._noise_variance = squared_error / self._num_ratings
        else:
            sides = [(self._user_sums, self._users), (item_sums, self._items)]
            self._noise_variance = em.ridge_noise(
                squared_error, self._num_ratings, sides, self._settings.regularization
            )
        self._noise_variance = max(self._noise_variance, LEAST_NOISE * self._unit_variance)
        if self._settings.prior == "adaptive":
            least = LEAST_VARIANCE * math.sqrt(self._unit_variance)
            user_prior = em.adapted_prior(self._user_sums, self._users, least)
            self._set_priors(user_prior, em.adapted_prior(item_sums, self._items, least))
        else:
            self._set_priors(self._user_prior, self._item_prior)

    def _bring_users_up_to_date(self) -> None:
        """E step of the users against the present items; leaves the statistics for the items' next solve."""
        if self._statistics is not None:
            return
        n, num_items = self._users.num_own, self._dataset.num_items
        start, stop = self._user_range
        self._user_mean_Un = self._item_mean_In.new_empty((stop - start, n))
        self._user_covariance_UT = self._item_mean_In.new_empty((stop - start, packed_size(n)))
        # Panels of [I, W + D]: second moments of the users who rated the item, then their ratings times means.
        statistics = [
            torch.zeros((num_items, width), dtype=torch.float64, device=self._device)
            for width in (*self._users.widths, n + 1)
        ]
        sums_BS = torch.zeros((len(self._shards), em.num_sums(n)), dtype=torch.float64, device=self._device)
        for row, shard in enumerate(self._shards):
            moments, vectors, sums_BS[row] = self._solve_shard(shard)
            self._add_to_items(shard, moments, vectors, statistics)
        self._user_sums = self._collectives.sum_blocks(sums_BS)
        self._statistics = [self._collectives.sum_scatter_rows(panel, self._item_ranges) for panel in statistics]

    def _solve_shard(self, shard: UserShard) -> tuple[Panels, torch.Tensor, torch.Tensor]:
        """Solve one shard's users and keep them; returns their moments, their vectors and the shard's sums."""
        grams = [shard.ratings.plain_sum(panel) for panel in self._item_moments]
        weighted_RD = shard.ratings.weighted_sum(self._item_vectors_ID)
        moments = Panels(shard.ratings.num_rows, self._users, weighted_RD)
        vectors_RD = torch.empty_like(weighted_RD)
        sums_S = torch.zeros(em.num_sums(self._users.num_own), dtype=torch.float64, device=self._device)
        first, step = shard.start - self._user_range[0], em.batch_rows(self._users.num_own)
        for start in range(0, shard.ratings.num_rows, step):
            rows = slice(start, min(start + step, shard.ratings.num_rows))
            gram_WB = torch.cat([gram[rows].T for gram in grams])
            weighted_DB = weighted_RD[rows].T
            solved = self._update(gram_WB, weighted_DB, shard.rated[rows], self._user_prior, self._users)
            own = slice(first + rows.start, first + rows.stop)
            self._user_mean_Un[own], self._user_covariance_UT[own] = solved.mean_Bn, solved.covariance_TB.T
            moments.put(start, solved.moments_WB)
            vectors_RD[rows] = solved.vectors_BD
            sums_S += solved.sums_S
        return moments, vectors_RD, sums_S

    def _add_to_items(
        self, shard: UserShard, moments: Panels, vectors_RD: torch.Tensor, statistics: list[torch.Tensor]
    ) -> None:
        """Add a shard's float32 partials to the item statistics, in float64."""
        for total, panel in zip(statistics[:-1], moments.panels, strict=True):
            add_in_chunks(shard.turned.plain_sum(panel), total)
        add_in_chunks(shard.turned.weighted_sum(vectors_RD), statistics[-1])

    def _update(
        self, gram_WB: torch.Tensor, weighted_DB: torch.Tensor, rated_B: torch.Tensor, prior: Prior, layout: Layout
    ) -> Posterior:
        return em.update(gram_WB, weighted_DB, rated_B, prior, self._noise_variance, layout, self._point)

    def _solve_items(self) -> tuple[float, torch.Tensor]:
        """E step of the items from the statistics; returns the squared error and the sums over all of them.

        This rank solves its own blocks, and all ranks then have all items.
        """
        assert self._statistics is not None, "items are solved from users that are up to date"
        n, (first, last) = self._items.num_own, self._item_range
        mean_Rn = self._item_mean_In.new_empty((last - first, n))
        covariance_RT = self._item_mean_In.new_empty((last - first, packed_size(n)))
        moments = Panels(last - first, self._items, mean_Rn)
        size = (len(self._own_item_blocks), em.num_sums(n) + 1)
        sums_BS = torch.zeros(size, dtype=torch.float64, device=self._device)
        for row, (start, stop) in enumerate(self._own_item_blocks):
            own = slice(start - first, stop - first)
            gram_WB = torch.cat([panel[own].T for panel in self._statistics[:-1]])
            weighted_DB = self._statistics[-1][own].T.contiguous()
            rated_B = self._item_rated[start:stop]
            solved = self._update(gram_WB.float(), weighted_DB.float(), rated_B, self._item_prior, self._items)
            mean_Rn[own], covariance_RT[own] = solved.mean_Bn, solved.covariance_TB.T
            moments.put(own.start, solved.moments_WB)
            sums_BS[row, :-1] = solved.sums_S
            sums_BS[row, -1] = em.squared_error(solved, gram_WB, weighted_DB, self._items)
        mean_In, *panels = (
            self._collectives.gather_rows(rows, self._item_ranges) for rows in (mean_Rn, *moments.panels)
        )
        self._set_items(mean_In, panels, covariance_RT)
        sums = self._collectives.sum_blocks(sums_BS)
        # Sums of float32 moments may cancel below what they resolve where the fit is perfect.
        least = LEAST_NOISE * self._unit_variance * self._num_ratings
        return max(self._square_sum + float(sums[-1]), least), sums[:-1]

    def _bound(self, squared_error: float, item_sums: torch.Tensor) -> float:
        """The likelihood bound over the rated users and items. With `posterior: full` no epoch lowers it by more
        than the rounding of float32 statistics, about 1e-7 of it; with `point` it is no bound."""
        likelihood = em.log_likelihood(squared_error, self._num_ratings, self._noise_variance)
        users = em.divergence(self._user_sums, self._user_prior, self._users)
        return likelihood - users - em.divergence(item_sums, self._item_prior, self._items)

    def validate(self) -> ErrorSums:
        """Errors of this rank's users over the valid split, summed over ranks in shard order."""
        self._bring_users_up_to_date()
        if self._valid is None:
            self._valid = self._collectives.together(
                "reading the valid ratings", lambda: [self._read_valid(shard.index) for shard in self._shards]
            )
        sums_B3 = torch.zeros((len(self._shards), 3), dtype=torch.float64, device=self._device)
        for row, pairs in enumerate(self._valid):
            errors = self._errors(pairs)
            sums_B3[row] = torch.tensor(
                [errors.squared, errors.absolute, errors.count], dtype=torch.float64, device=self._device
            )
        squared, absolute, count = self._collectives.sum_blocks(sums_B3).tolist()
        return ErrorSums(squared, absolute, int(count))

    def _read_valid(self, shard: int) -> ValidPairs:
        return read_valid_pairs(self._dataset, shard, self._user_range[0], self._device)

    def _errors(self, pairs: ValidPairs) -> ErrorSums:
        vector_ND = augmented(self._user_mean_Un[pairs.user_row], self._users)
        # mu + a_u . z_i
        predicted = self._mean_rating + (vector_ND * self._item_vectors_ID[pairs.item]).sum(1)
        limits = self._dataset.manifest.rating
        return ErrorSums.of(predicted.clamp(limits.min, limits.max).cpu().numpy(), pairs.rating)

    def state(self) -> TrainerState:
        """Posteriors of this rank's users and items; priors and noise in `values`."""
        self._bring_users_up_to_date()
        (start, stop), num_users = self._item_range, self._dataset.num_users
        users = self._rows(self._user_mean_Un, self._user_covariance_UT, self._users)
        items = self._rows(self._item_mean_In[start:stop], self._item_covariance_RT, self._items)
        values: dict[str, Any] = {
            "epoch": self.epochs_done,
            "mu": self._mean_rating,
            "noise_variance": self._noise_variance,
            "user_prior_mean": self._user_prior.mean_n.tolist(),
            "user_prior_covariance": self._user_prior.covariance_nn.tolist(),
            "item_prior_mean": self._item_prior.mean_n.tolist(),
            "item_prior_covariance": self._item_prior.covariance_nn.tolist(),
        }
        tables = {
            "users": TableRows(self._user_range[0], num_users, users),
            "items": TableRows(start, self._dataset.num_items, items),
        }
        return TrainerState(tables, values)

    def _rows(self, mean_Rn: torch.Tensor, covariance_RT: torch.Tensor, layout: Layout) -> dict[str, torch.Tensor]:
        """Columns of a saved table: means, and covariances as upper triangles read row by row."""
        return {"mean": mean_Rn, "covariance": covariance_RT[:, layout.triangle_T]}

    def load_state(self, reader: StateReader) -> None:
        """Take items, priors and noise; users follow from them, with the same bits as before."""
        values: Any = reader.values
        self.epochs_done = int(values["epoch"])
        self._noise_variance = float(values["noise_variance"])
        self._user_prior = self._read_prior(values, "user")
        self._item_prior = self._read_prior(values, "item")
        items = reader.read_rows("items", 0, self._dataset.num_items)
        covariance_IT = items["covariance"].to(self._device)
        in_packed_order = torch.empty_like(covariance_IT)
        in_packed_order[:, self._items.triangle_T] = covariance_IT
        self._set_items_from(items["mean"].to(self._device), in_packed_order)

    def _read_prior(self, values: Any, side: str) -> Prior:
        mean_n, covariance_nn = (
            torch.tensor(values[f"{side}_prior_{part}"], dtype=torch.float64, device=self._device)
            for part in ("mean", "covariance")
        )
        return Prior(mean_n, covariance_nn)


def add_in_chunks(partial: torch.Tensor, total: torch.Tensor) -> None:
    """total += partial, from float32 to float64, by pieces whose conversion stays in the cache."""
    for rows, part in zip(total.split(CHUNK_ROWS), partial.split(CHUNK_ROWS), strict=True):
        rows.add_(part)


def initial_factors(seed: int, block: int, num_rows: int, num_own: int) -> torch.Tensor:
    """Unit-free means of one block of items before the first epoch: small factors, no bias. float32 on the CPU."""
    rng = np.random.default_rng([seed, block])
    mean_Bn = rng.normal(0.0, INITIAL_STD, (num_rows, num_own)).astype(np.float32)
    mean_Bn[:, -1] = 0.0
    return torch.from_numpy(mean_Bn)
