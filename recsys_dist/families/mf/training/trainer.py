"""Training of a matrix factorization by EM: epochs, model selection, saved state.

    one epoch:  item sums --reduce-scatter--> owners solve their items
                sums of both sides --all-reduce--> priors, noise, constraints
                item tables --all-gather--> user shards: gather, solve, add to the item sums of the next epoch

So after each epoch, users are up to date with the items. The EM steps: factorization.py. Where there are far more
items than users, users and items change places: families/mf/ranks/rating_matrix.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.num_factors import mean_length, num_factors
from recsys_dist.families.mf.ranks.item_partition import keeps_ratings
from recsys_dist.families.mf.ranks.rating_shards import RatingPairs, RatingShards
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.diagonal_factorization import DiagonalFactorization
from recsys_dist.families.mf.training.explained import note_of_biases
from recsys_dist.families.mf.training.factor_curve import LOST, FactorCurve
from recsys_dist.families.mf.training.factorization import Factorization
from recsys_dist.families.mf.training.full_factorization import FullFactorization
from recsys_dist.families.mf.training.requirements import block_refusal, item_partition, rating_matrix
from recsys_dist.families.mf.training.resizing import resize
from recsys_dist.families.mf.training.search import LEAST_POLISHING, Search
from recsys_dist.families.mf.training.side import FactorSide
from recsys_dist.families.mf.training.state import MfState, PriorState
from recsys_dist.families.tuning_holdout import can_judge, tuning_holdout_share
from recsys_dist.metrics import ErrorSums
from recsys_dist.process.heap import return_freed_memory
from recsys_dist.protocols.trainer import EpochResult, Trial

WARM_UP_RATINGS, WARM_UP_STRIDE, WARM_UP_ROUNDS = 4_000_000, 4, 3
"""With at least this many ratings, training starts with rounds over every fourth shard to form initial factors."""


class EmTrainer:
    """Trainer of `model.kind: mf`. Implements the protocol of protocols/trainer.py."""

    def __init__(
        self,
        dataset: Dataset,
        settings: MfSettings,
        epochs: int,
        seed: int,
        collectives: Collectives,
        memory_limit: int | None = None,
    ) -> None:
        self.epochs_done = 0
        self._matrix = rating_matrix(dataset, settings, memory_limit, kind_of(settings))
        self._settings, self._epochs, self._seed = settings, epochs, seed
        self._collectives = collectives
        self._memory_limit = memory_limit
        self._shards = self._own_shards(memory_limit)
        factors = num_factors(settings, dataset.manifest)
        self._model = self._factorization(factors)
        is_open = settings.factors == "auto"
        self._search = Search.start(settings, can_judge(dataset.manifest), factors if is_open else None)
        self._has_started = self._is_warm = False
        self._valid: list[RatingPairs] | None = None
        self._valid_errors: ErrorSums | None = None

    def _own_shards(self, memory_limit: int | None) -> RatingShards:
        world = self._collectives.world
        own = self._matrix.shares(world.size)[world.rank]
        keep = keeps_ratings(self._matrix.manifest, world.size, memory_limit)
        return RatingShards(self._matrix, own, world.device, self._seed, keep)

    def _factorization(self, factors: int) -> Factorization[Any]:
        """A factorization with so many factors, before its start."""
        kind, world_size = kind_of(self._settings), self._collectives.world.size
        partition = item_partition(self._matrix, factors, kind, world_size, self._memory_limit)
        return kind(self._settings, factors, self._shards, partition, self._collectives)

    def _withhold(self) -> None:
        """Withhold the tuning holdout during the search, restore it afterwards, and read the train ratings."""
        self._shards.withhold(tuning_holdout_share(self._matrix.manifest) if self._search.is_searching else 0.0)
        self._collectives.together("reading the train ratings", self._shards.read)

    @property
    def has_converged(self) -> bool:
        """Whether another epoch would change almost nothing."""
        return self._search.phase == "done"

    @property
    def is_searching(self) -> bool:
        """Whether model selection is still running, during which the error may rise for a while."""
        return self._search.is_searching

    def _begin(self) -> None:
        """Set initial values; on large data, first train on some of the shards."""
        self._withhold()
        model, every = self._model, self._shards.__iter__
        if self._matrix.manifest.num_ratings["train"] >= WARM_UP_RATINGS:
            some = partial(self._shards.every, WARM_UP_STRIDE)
            model.count(some)
            model.start(self._seed)
            for _ in range(WARM_UP_ROUNDS):
                model.solve_users(some)
                model.solve_items()
                model.maximise()
            model.count(every)
        else:
            model.count(every)
            model.start(self._seed)
        model.take_form(self._search.form)
        model.solve_users(every)
        self._has_started = True

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:  # noqa: ARG002 - epochs take seconds
        """Solve the items, then priors and noise, then the users against the new items."""
        if not self._has_started:
            self._begin()
        model = self._model
        model.solve_items()
        squared_error, bound = model.squared_error, model.bound()
        model.maximise()
        model.solve_users(self._shards.__iter__)
        self.epochs_done += 1
        self._valid_errors = None
        result_sums = ErrorSums(squared_error, math.nan, model.num_ratings)
        decision, trial = self._advance(bound / model.num_ratings)
        factors = model.users.layout.num_factors
        notes = self._first_note(factors), decision, self._last_note()
        note = "; ".join(one for one in notes if one) or None
        extra = {"factors": factors, "noise_std": math.sqrt(model.noise_variance), "bound": bound}
        trials = () if trial is None else (trial,)
        return EpochResult(result_sums, result_sums.count, extra, note=note, trials=trials)

    def _first_note(self, factors: int) -> str | None:
        """After the first epoch: the number of factors in it, where the data decides about it."""
        if self._settings.factors != "auto" or self.epochs_done != 1:
            return None
        if self._is_warm:
            usual = num_factors(self._settings, self._matrix.manifest)
            kept = f"keeping the {factors} factors of start_from, where a new run begins with {usual}"
            return f"{kept}; if the data has grown much, train without start_from" if factors < usual else None
        mean = mean_length(self._matrix.manifest)
        return f"{factors} factors, for {mean:.3g} train ratings of a user or item on average"

    def _last_note(self) -> str | None:
        """After the last epoch: whether the factors were worth it."""
        if not (self.has_converged or self.epochs_done >= self._epochs):
            return None
        model = self._model
        return note_of_biases(model.users, model.items, model.unit_variance, self._collectives)

    def _advance(self, bound: float) -> tuple[str | None, Trial | None]:
        """Advance the search by one epoch; returns a message for the log and the trial that ended, if any."""
        trial = None
        if not self._search.is_searching:
            self._search = self._search.after_polishing_epoch(bound, self._settings.tolerance)
            return None, trial
        if self._epochs - self.epochs_done <= LEAST_POLISHING:
            search = self._search.polish()
            # Factors that have had too few epochs to form would seem to gain nothing.
            ending = "the last epochs are for all ratings, before the search was over"
            note: str | None = f"{ending}; keeping {search.form}"
        else:
            errors = self._model.errors(self._judged_by) if self._shards.withheld else self.validate()
            error = errors.squared / errors.count
            trial = self._search.ending_trial(error)
            search, note = self._search.after_search_epoch(
                error, self._model.unit_variance, self._settings, self._supports_more
            )
            if not search.is_searching:
                search, kept = self._without_spent_factors(search)
                note = f"{note}; {kept}" if kept else note
        self._change_to(search)
        return note, trial

    def _judged_by(self, index: int) -> RatingPairs:
        """The ratings of a shard that judge: withheld ones, or the validation split."""
        return self._shards.withheld_pairs(index) if self._shards.withheld else self._shards.valid_pairs(index)

    def _curve(self) -> FactorCurve:
        return FactorCurve.of(self._model, self._judged_by, self._matrix.manifest.rating, self._collectives)

    def _supports_more(self) -> bool:
        """Whether twice as many factors fit the memory limit, and the last ones gain much."""
        more, kind = 2 * self._model.users.layout.num_factors, kind_of(self._settings)
        refusal = block_refusal(self._matrix, more, self._memory_limit, kind)
        return refusal is None and self._curve().supports_more

    def _without_spent_factors(self, search: Search) -> tuple[Search, str | None]:
        """At the end of a search that may choose the number of factors: keep those that the ratings support."""
        factors = self._model.users.layout.num_factors
        if search.form.factors is None or search.form.factors != factors:
            return search, None
        kept = self._curve().supported
        if kept == factors:
            return search, f"keeping all {factors} factors"
        if kept == 0:
            return search.with_factors(0), "keeping biases alone: factors gain nothing on ratings not trained on"
        lost = f"the others lower the squared error on ratings not trained on by at most {LOST:.3%}"
        return search.with_factors(kept), f"keeping {kept} of {factors} factors: {lost}"

    def _change_to(self, search: Search) -> None:
        """Switch to a new search state; solve the users again if the form or the train ratings change."""
        is_new, is_over = search.form != self._search.form, not search.is_searching
        self._search = search
        if is_over:
            self._withhold()
        if search.form.factors not in {None, self._model.users.layout.num_factors}:
            self._resize(search.form.factors)
        if is_new:
            self._model.take_form(search.form)
        if is_new or is_over:
            return_freed_memory()
            # Count again too: the squares may be weighted by precisions of the previous form.
            self._model.count(self._shards.__iter__)
            self._model.solve_users(self._shards.__iter__)
            self._valid_errors = None

    def _resize(self, factors: int) -> None:
        resized = self._factorization(factors)
        resize(self._model, resized, self._seed)
        self._model = resized

    def validate(self) -> ErrorSums:
        """Errors on the validation split, summed over ranks in shard order."""
        if not self._has_started:
            self._begin()
        if self._valid is None:
            self._valid = self._collectives.together(
                "reading the valid ratings", lambda: [self._shards.valid_pairs(i) for i in self._shards.own]
            )
        if self._valid_errors is None:
            pairs = dict(zip(self._shards.own, self._valid, strict=True))
            self._valid_errors = self._model.errors(pairs.__getitem__)
        return self._valid_errors

    def state(self) -> TrainerState:
        """Posteriors of this rank's users and items; priors, noise and the search in `values`."""
        if not self._has_started:
            self._begin()
        model, sides = self._model, self._sides
        values = MfState(
            epoch=self.epochs_done,
            mu=self._matrix.manifest.rating.mean,
            noise_variance=model.noise_variance,
            unit_variance=model.unit_variance,
            search=self._search,
            user_prior=_prior_state(sides["users"]),
            item_prior=_prior_state(sides["items"]),
            staying=self._matrix.staying,
            staying_sums=model.user_sums.sums_S.tolist(),
        )
        tables: dict[str, TableRows] = {
            name: TableRows(side.start, self._matrix.dataset.num_rows(name), side.columns())
            for name, side in sides.items()
        }
        return TrainerState(tables, values.model_dump(mode="json"))

    @property
    def _sides(self) -> dict[Side, FactorSide]:
        """Users and items by their own names."""
        model, matrix = self._model, self._matrix
        sides = {matrix.staying: model.users, matrix.travelling: model.items}
        return {name: sides[name] for name in SIDES}

    def load_state(self, reader: StateReader) -> None:
        """Restore the posteriors of own rows, priors, noise and the search."""
        saved, device = MfState.of(reader.values), self._collectives.world.device
        if saved.num_factors != self._model.users.layout.num_factors:
            # The number that the search came to, or that of the run of a warm start.
            self._model = self._factorization(saved.num_factors)
        model = self._model
        self.epochs_done, self._search = saved.epoch, saved.search
        self._withhold()
        model.count(self._shards.__iter__)
        model.noise_variance, model.unit_variance = saved.noise_variance, saved.unit_variance
        for name, side in self._sides.items():
            side.take_columns(reader.read_rows(name, side.start, side.start + side.num_rows))
            prior = saved.prior(name)
            mean_n = torch.tensor(prior.mean, dtype=torch.float64, device=device)
            side.prior = Prior(mean_n, torch.tensor(prior.covariance, dtype=torch.float64, device=device))
            side.dof = prior.precision_dof or side.dof
        model.take_form(saved.search.form)
        self._is_warm = saved.staying_sums is None
        if saved.staying_sums is None or saved.staying != self._matrix.staying:
            # A warm start (warm_start.py), in which rows may be new or have new ratings; or another memory limit.
            model.solve_users(self._shards.__iter__)
        else:
            model.resume(torch.tensor(saved.staying_sums, dtype=torch.float64, device=device))
        self._has_started, self._valid_errors = True, None


def kind_of(settings: MfSettings) -> type[Factorization[Any]]:
    """The factorization for the posterior of the settings."""
    return DiagonalFactorization if settings.posterior == "diagonal" else FullFactorization


def _prior_state(side: FactorSide) -> PriorState:
    return PriorState(
        mean=side.prior.mean_n.tolist(),
        covariance=side.prior.covariance_nn.tolist(),
        precision_dof=None if side.precision_R is None else side.dof,
    )
