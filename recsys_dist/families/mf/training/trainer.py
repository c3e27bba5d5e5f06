"""Training of a matrix factorization by EM: epochs, the search for its form, what is saved.

    one epoch:  item sums --at their owners--> owners solve their items
                sums of both sides --all ranks--> priors, noise, patterns
                item tables --travel--> user shards: gather, solve, add to the item sums of the next epoch

So users are always up to date with the items that predict with them. The steps themselves: factorization.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.dataset.dataset import Dataset, share_shards
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.ranks.item_partition import RATING_BYTES, TRAVEL_SHARE, ItemPartition, travel_bytes
from recsys_dist.families.mf.ranks.rating_shards import RatingPairs, RatingShards
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.diagonal_factorization import DiagonalFactorization
from recsys_dist.families.mf.training.full_factorization import FullFactorization
from recsys_dist.families.mf.training.search import LEAST_POLISHING, Search
from recsys_dist.families.mf.training.side import Side
from recsys_dist.families.tuning_holdout import can_judge, share_to_hold_back
from recsys_dist.metrics import ErrorSums
from recsys_dist.protocols.trainer import EpochResult

WARM_UP_RATINGS, WARM_UP_STRIDE, WARM_UP_ROUNDS = 4_000_000, 4, 3
"""Data of so many ratings starts with rounds over every fourth shard, in which the first factors take shape."""


class EmTrainer:
    """Trainer of `model.kind: mf`; see protocols/trainer.py for the protocol."""

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
        self._dataset, self._settings, self._epochs, self._seed = dataset, settings, epochs, seed
        self._collectives = collectives
        self._shards = self._own_shards(memory_limit)
        kind = DiagonalFactorization if settings.posterior == "diagonal" else FullFactorization
        rows, row_bytes = kind.rows_at_once(settings.factors), travel_bytes(kind.row_floats(settings.factors))
        partition = ItemPartition.of(dataset.num_items, rows, row_bytes, collectives.world.size, memory_limit)
        self._model = kind(dataset, settings, self._shards, partition, collectives)
        self._search = Search.start(settings, can_judge(dataset.manifest))
        self._has_started = False
        self._valid: list[RatingPairs] | None = None
        self._valid_errors: ErrorSums | None = None

    def _own_shards(self, memory_limit: int | None) -> RatingShards:
        world, shards = self._collectives.world, self._dataset.shards("users")
        own = share_shards(shards, world.size)[world.rank]
        num_ratings = self._dataset.manifest.num_ratings["train"] / world.size
        keep = memory_limit is None or num_ratings * RATING_BYTES <= memory_limit / TRAVEL_SHARE
        return RatingShards(self._dataset, own, world.device, self._seed, keep)

    def _hold_back(self) -> None:
        """Hold back what the search judges by, or give it back, and read the ratings that are left."""
        self._shards.hold_back(share_to_hold_back(self._dataset.manifest) if self._search.is_searching else 0.0)
        self._collectives.together("reading the train ratings", self._shards.read)

    @property
    def has_converged(self) -> bool:
        """Whether another epoch would change next to nothing."""
        return self._search.phase == "done"

    @property
    def is_searching(self) -> bool:
        """Whether the form of the model is still being tried out, so that an error may rise for a while."""
        return self._search.is_searching

    def _begin(self) -> None:
        """Starting values; on much data rounds over some shards first."""
        self._hold_back()
        model, every = self._model, self._shards.__iter__
        if self._dataset.manifest.num_ratings["train"] >= WARM_UP_RATINGS:
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

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:  # noqa: ARG002 - an epoch is a second or so
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
        note = self._advance(bound / model.num_ratings)
        extra = {"noise_std": math.sqrt(model.noise_variance), "bound": bound}
        return EpochResult(result_sums, extra, note=note)

    def _advance(self, bound: float) -> str | None:
        """Take the search one epoch further; returns what there is to tell."""
        if not self._search.is_searching:
            self._search = self._search.after_polishing_epoch(bound, self._settings.tolerance)
            return None
        if self._epochs - self.epochs_done <= LEAST_POLISHING:
            search = self._search.polish()
            note: str | None = f"the last epochs, with all ratings and nothing more to try: {search.form}"
        else:
            held_back = self._shards.held_back_pairs
            errors = self._model.errors(held_back) if self._shards.held_back else self.validate()
            search, note = self._search.after_search_epoch(
                errors.squared / errors.count, self._model.unit_variance, self._settings
            )
        self._change_to(search)
        return note

    def _change_to(self, search: Search) -> None:
        """Go on with another state of the search; users are solved anew where that changes what they see."""
        is_new, is_over = search.form != self._search.form, not search.is_searching
        self._search = search
        if is_over:
            self._hold_back()
        if is_new:
            self._model.take_form(search.form)
        if is_new or is_over:
            # Also because squares may be weighted by precisions that the form before had.
            self._model.count(self._shards.__iter__)
            self._model.solve_users(self._shards.__iter__)
            self._valid_errors = None

    def validate(self) -> ErrorSums:
        """Errors of this rank's users over the valid split, summed over ranks in shard order."""
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
        model = self._model
        values: dict[str, Any] = {
            "epoch": self.epochs_done,
            "mu": self._dataset.manifest.rating.mean,
            "noise_variance": model.noise_variance,
            "unit_variance": model.unit_variance,
            "search": self._search.to_json(),
            "user_sums": model.user_sums.sums_S.tolist(),
            **_prior_values("user", model.users),
            **_prior_values("item", model.items),
        }
        tables = {
            "users": TableRows(model.users.start, self._dataset.num_users, model.users.columns()),
            "items": TableRows(model.items.start, self._dataset.num_items, model.items.columns()),
        }
        return TrainerState(tables, values)

    def load_state(self, reader: StateReader) -> None:
        """Take the posteriors of own rows, priors, noise and the search."""
        values, model = reader.values, self._model
        read: Any = values
        self.epochs_done = int(read["epoch"])
        self._search = Search.from_json(values["search"])
        self._hold_back()
        model.count(self._shards.__iter__)
        model.noise_variance, model.unit_variance = float(read["noise_variance"]), float(read["unit_variance"])
        for name, side in (("user", model.users), ("item", model.items)):
            rows = reader.read_rows(f"{name}s", side.start, side.start + side.num_rows)
            side.take_columns(rows)
            side.prior = self._read_prior(read, name)
            side.dof = read[f"{name}_precision_dof"] or side.dof
        model.take_form(self._search.form)
        if read["user_sums"] is None:
            # Another run's state (training/warm_start.py): the users may have new ratings, or be new.
            model.solve_users(self._shards.__iter__)
        else:
            device = self._collectives.world.device
            model.resume(torch.tensor(read["user_sums"], dtype=torch.float64, device=device))
        self._has_started, self._valid_errors = True, None

    def _read_prior(self, values: Any, side: str) -> Prior:
        mean_n, covariance_nn = (
            torch.tensor(
                values[f"{side}_prior_{part}"], dtype=torch.float64, device=self._collectives.world.device
            )
            for part in ("mean", "covariance")
        )
        return Prior(mean_n, covariance_nn)


def _prior_values(name: str, side: Side) -> dict[str, Any]:
    return {
        f"{name}_prior_mean": side.prior.mean_n.tolist(),
        f"{name}_prior_covariance": side.prior.covariance_nn.tolist(),
        f"{name}_precision_dof": None if side.precision_R is None else side.dof,
    }
