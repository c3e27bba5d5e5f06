"""Training of an AutoRec on one rank: batches of rows, with the parameters of all columns or of its own.

    B rows of a batch on this rank, C columns, H hidden units, N train ratings in all, T steps of an epoch

The objective J is the sum of squared errors of all train ratings, in units of the baseline's variance, plus
lambda/2 (|V|^2 + |W|^2) + column_shrinkage |output_bias|^2. Each step minimises its batch's errors plus 1/T of the
penalty, so the steps of an epoch add up to J. Everything is divided by N/T, to which Adam is invariant. The
penalty enters the gradient as weight decay of the optimizer, the same on every rank, so it counts once. A step of
several batches (of all batches in full-batch training) averages their gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch

from recsys_dist.checkpoint.state import StateReader, TrainerState
from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.loader import other_side
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.data_parallel import backward, replicate, without_averaging
from recsys_dist.families.autorec.network.network import Autorec, Batch
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.batches import AutorecBatches
from recsys_dist.families.autorec.training.divergence import not_finite, require_sense, rmse_of
from recsys_dist.families.autorec.training.errors import prediction_errors
from recsys_dist.families.autorec.training.optimizer import (
    copied_parameters,
    load_parameters,
    optimizer_of,
    steps_by_blocks,
)
from recsys_dist.families.autorec.training.ratings import AutorecRatings, valid_blocks
from recsys_dist.families.autorec.training.search import AutorecSearch, untried
from recsys_dist.families.autorec.training.shares import Shares, column_exchange, parameter_bytes
from recsys_dist.families.autorec.training.state import AutorecState
from recsys_dist.families.autorec.training.state_tables import OPTIMIZER, AutorecTables, KeptBeside
from recsys_dist.families.bilinear.link import OutputLink
from recsys_dist.families.epoch_sums import EpochSums
from recsys_dist.families.schedule import warm_cosine
from recsys_dist.families.tuning_holdout import can_judge, tuning_holdout_share
from recsys_dist.metrics import ErrorSums
from recsys_dist.protocols.trainer import EpochResult, Trial

SEARCH_RATINGS = 6_000_000
"""Approximate upper limit on the ratings in an epoch of the search."""


class AutorecTrainer:
    """Trains an item- or user-AutoRec. Every method is collective: all ranks must call it."""

    def __init__(
        self, dataset: Dataset, settings: AutorecSettings, epochs: int, seed: int, collectives: Collectives
    ) -> None:
        self.epochs_done = 0
        self._dataset, self._settings, self._collectives = dataset, settings, collectives
        self._epochs, self._seed = epochs, seed
        world = collectives.world
        self._columns = other_side(settings.orientation)
        self._shares = Shares.of(dataset, settings, world.rank, world.size)
        self._search = AutorecSearch.start(settings, epochs, can_judge(dataset.manifest))
        self._settled: dict[str, torch.Tensor] | None = None
        """The settled parameters, from which all trials start."""
        self._read_ratings()
        self._build()
        self._step = 0
        self._sums = EpochSums(collectives)
        self._diverged_at: int | None = None
        """The first batch of the epoch whose error on this rank was not finite."""
        self._is_warm = False  # whether the state comes from another run
        self._last_batch: Batch | None = None
        self._valid_blocks: list[Block] | None = None

    def _read_ratings(self) -> None:
        """Read this rank's train ratings, without the tuning holdout during the search."""
        self._ratings = AutorecRatings.read(
            self._dataset, self._settings, self._shares, self._seed, self._collectives, self.is_searching
        )

    def _build(self) -> None:
        """Make the parameters on top of the baseline, and their optimizer."""
        manifest, settings = self._dataset.manifest, self._settings
        baseline = self._ratings.baseline
        output = OutputLink(settings.output_activation, manifest.rating.min, manifest.rating.max, baseline.mean)
        first, last = self._shares.columns
        self._model = Autorec(
            baseline.columns(first, last),
            settings.hidden,
            settings.hidden_activation,
            output,
            self._seed,
            first,
            column_exchange(self._shares, self._collectives),
            settings.tied,
            getattr(torch, settings.compute),
        )
        num_columns = self._dataset.num_rows(self._columns)
        world, sharded = self._collectives.world, self._shares.is_sharded
        self._tables = AutorecTables(self._model, settings.tied, self._shares, num_columns, world)
        self._replica = self._model if sharded else replicate(self._model, self._collectives)
        self._begin_stage()

    def _begin_stage(self) -> None:
        """Apply the search's current choice: baseline, batches and a fresh optimizer."""
        choice, collectives, settings = self._search.choice, self._collectives, self._settings
        baseline = self._ratings.baseline.columns(*self._shares.columns)
        self._model.baseline = replace(baseline, form=replace(baseline.form, implicit_input=choice.implicit_input))
        self._batches = AutorecBatches(
            self._ratings.loader,
            self._shares.columns,
            self._dataset.num_rows(self._columns),
            settings,
            choice,
            self._seed,
            collectives.world.device,
        )
        self._optimizer = optimizer_of(
            self._model,
            settings,
            choice.regularization,
            self._ratings.num_ratings,
            self._ratings.column_shrinkage,
            collectives.sum_ if self._shares.is_sharded else None,
            steps_by_blocks(settings, self._shares.sums_gradients, collectives.world.device),
        )

    @property
    def has_converged(self) -> bool:
        """Whether the optimizer has converged; only L-BFGS can."""
        return self._optimizer.has_converged and not self.is_searching

    @property
    def is_searching(self) -> bool:
        """Whether the tuning of settings is still running."""
        return self._search.is_searching

    @property
    def _steps(self) -> int:
        """Batches of an epoch; on large data, epochs of the search are shorter."""
        steps = self._ratings.loader.steps
        if not self.is_searching or self._settings.is_full_batch:
            return steps
        return min(steps, -(-SEARCH_RATINGS * steps // self._ratings.num_ratings))

    @property
    def _batches_at_once(self) -> int:
        """Batches per step of the optimizer."""
        return self._steps if self._settings.is_full_batch else self._settings.accumulation

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Run the remaining batches of an epoch; calls `should_stop` before each step."""
        while self._step < self._steps:
            if should_stop():
                return self._result(finished=False)
            self._train_step(range(self._step, min(self._step + self._batches_at_once, self._steps)))
        result = self._result(finished=True)
        assert result.train is not None, "an autoencoder predicts ratings"
        self._require_sense("train RMSE", result.train.rmse)
        if self.epochs_done + 1 == self._epochs:
            assert self._last_batch is not None, "an epoch ends with a batch"
            last = rmse_of(self._model, self._last_batch, self._collectives)
            self._require_sense("RMSE of its last batch", last)
        self.epochs_done += 1
        self._step = 0
        if not self._settings.is_full_batch:
            # Full-batch errors stay valid until the next evaluation; a converged run makes none.
            self._sums.reset()
        self._search = self._search.after_epoch()
        note, trials = self._decide() if self._is_stage_over else (self._untried(), ())
        return replace(result, note=note, trials=trials)

    def _untried(self) -> str | None:
        """After the first epoch: a message about open settings that are not tuned."""
        if self.epochs_done != 1 or self._is_warm or self.is_searching:
            return None
        return untried(self._settings, self._epochs, can_judge(self._dataset.manifest), self._search.choice)

    @property
    def _is_stage_over(self) -> bool:
        length = self._search.length(self._settings, self._epochs - self.epochs_done)
        return self.is_searching and self._search.epochs >= length

    def _decide(self) -> tuple[str, tuple[Trial, ...]]:
        """Advance the search by one stage; returns a message for the log and the trial that ended, if any."""
        withholds = tuning_holdout_share(self._dataset.manifest) > 0
        errors = self._errors(self._ratings.withheld) if withholds else self.validate()
        error: float = self._collectives.gather_json(errors.squared / max(1, errors.count))[0]
        if self._settled is None:
            self._settled = copied_parameters(self._model)
        trials = self._search.ending_trials(error)
        self._search, message = self._search.after_stage(
            error, self._settings, self._epochs - self.epochs_done, self._epochs
        )
        self._batches.close()
        load_parameters(self._model, self._settled)
        if not self.is_searching:
            self._settled = None
            self._read_ratings()
        self._begin_stage()
        return message, trials

    def _train_step(self, batches: range) -> None:
        self._optimizer.step(self._learning_rate(), partial(self._evaluate, batches), self._mean_square)
        self._require_finite()
        self._step = batches.stop

    def _require_finite(self) -> None:
        """Raise on every rank if the last step had a non-finite error on any rank; the message names the batch."""
        if not self._collectives.any_rank(self._diverged_at is not None):
            return
        found = enumerate(self._collectives.gather_json(self._diverged_at))
        number, rank = min((number, rank) for rank, number in found if number is not None)
        step = number // self._batches_at_once + 1
        place = f"at step {step}, in batch {number + 1} of {self._steps}"
        who = f"rank {rank} of {self._collectives.world.size}"
        raise not_finite(self.epochs_done + 1, place, who, self._settings, self._search.choice)

    def _require_sense(self, what: str, rmse: float) -> None:
        """Raise if training diverges, except during the search, which reverts such a trial."""
        if not self.is_searching:
            rating = self._dataset.manifest.rating
            require_sense(self.epochs_done + 1, what, rmse, rating, self._settings, self._search.choice)

    def _evaluate(self, batches: range) -> None:
        """Compute the gradients of these batches, the same on every rank, and their errors."""
        if self._settings.is_full_batch:
            # A line search evaluates several points; keep the errors of the last, usually the accepted one.
            self._sums.reset()
            self._diverged_at = None
        self._replica.zero_grad(set_to_none=True)
        for number in batches:
            is_last = number == batches.stop - 1
            with nullcontext() if is_last else without_averaging(self._replica):
                self._add_gradients(number, 1 / len(batches))
        if not self._shares.is_sharded:
            self._collectives.count_all_reduce(parameter_bytes(len(self._model.decoder), self._settings))

    def _mean_square(self) -> float:
        """Mean squared error of the epoch over all ranks, in units of the baseline's variance."""
        squared = float(self._collectives.sum_(self._sums.squared))
        return squared / (self._ratings.num_ratings * self._model.baseline.scale**2)

    def _add_gradients(self, number: int, share: float) -> None:
        batch = self._batches.batch(self.epochs_done, number, self._model.baseline, self._ratings.row_facts)
        self._last_batch = batch
        error_N = self._replica(batch) - batch.rating_N
        # The average over ranks of world x local sum is the sum over the global batch; N/T is its mean length.
        # Gradients of sharded columns are local and not averaged.
        averaged = 1 if self._shares.is_sharded else self._collectives.world.size
        mean_length = self._ratings.num_ratings / self._ratings.loader.steps
        weight = share * averaged / (mean_length * self._model.baseline.scale**2)
        backward(error_N.square().sum() * weight, self._collectives)
        self._sums.add(error_N)
        if self._diverged_at is None and not math.isfinite(self._sums.squared):
            self._diverged_at = number

    def _learning_rate(self) -> float:
        search, epochs_left = self._search, self._epochs - self.epochs_done
        total = search.length(self._settings, epochs_left) * self._steps
        done = (search.epochs * self._steps + self._step + 1) / (total + 1)
        return warm_cosine(self._settings.learning_rate, done)

    def validate(self) -> ErrorSums:
        """Errors on the validation split."""
        if self._valid_blocks is None:
            self._valid_blocks = self._collectives.together(
                "reading the valid ratings",
                lambda: valid_blocks(self._dataset, self._settings, self._shares, self._ratings.loader),
            )
        return self._errors(self._valid_blocks)

    def _errors(self, pairs_of_blocks: Sequence[Block]) -> ErrorSums:
        return prediction_errors(
            self._model, self._ratings, pairs_of_blocks, self._shares.is_sharded, self._collectives
        )

    def state(self) -> TrainerState:
        """Own columns, or an even range of the rows of each replicated table, and the position in the epoch."""
        model = self._model
        baseline, choice = model.baseline, self._search.choice
        values = AutorecState(
            epoch=self.epochs_done,
            step=self._step,
            sums=self._sums.saved(within_epoch=self._step > 0),
            optimizer=self._optimizer.values(),
            mean=baseline.mean,
            scale=baseline.scale,
            row_shrinkage=baseline.row_shrinkage,
            column_shrinkage=self._ratings.column_shrinkage,
            search=self._search,
            regularization=choice.regularization,
            implicit_input=baseline.form.implicit_input,
            length_normalization=baseline.form.length_normalization,
            mean_length=baseline.form.mean_length,
        )
        return TrainerState(self._tables.to_save(self._beside()), values.model_dump(mode="json"))

    def _beside(self) -> dict[str, KeptBeside]:
        """Companions of the parameters in a state: optimizer moments, and settled parameters if any."""
        settled = {} if self._settled is None else {"settled": self._settled_like}
        return {OPTIMIZER: self._optimizer.moments_of, **settled}

    def _settled_like(self, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The settled values of `parameters`."""
        assert self._settled is not None
        place = {id(parameter): name for name, parameter in self._model.named_parameters()}
        return {key: self._settled[place[id(parameter)]] for key, parameter in parameters.items()}

    def load_state(self, reader: StateReader) -> None:
        """Continue from a state of any number of ranks; exactly, if the number of ranks is the same.

        A warm start from another run has no optimizer state and may have fewer columns.
        """
        saved = AutorecState.of(reader.values)
        self._take_search(saved.search)
        beside = self._beside()
        self._is_warm = saved.optimizer is None
        if saved.optimizer is None:
            del beside[OPTIMIZER]
        else:
            self._optimizer.restore(saved.optimizer)
        self._tables.load(reader, beside)
        self.epochs_done, self._step = saved.epoch, saved.step
        self._sums.load(saved.sums)

    def _take_search(self, search: AutorecSearch) -> None:
        """Restore the search and read the train ratings that it leaves."""
        was_searching = self.is_searching
        self._search = search
        self._batches.close()
        if self.is_searching != was_searching:
            self._read_ratings()
        self._begin_stage()
        self._settled = None
        if search.phase == "trying":
            self._settled = {name: torch.empty_like(p) for name, p in self._model.named_parameters()}

    def _result(self, finished: bool) -> EpochResult:
        """The result with errors over all ranks."""
        train = self._sums.total()
        rate = {} if self._settings.is_full_batch else {"learning_rate": self._learning_rate()}
        return EpochResult(train, train.count, rate, finished)
