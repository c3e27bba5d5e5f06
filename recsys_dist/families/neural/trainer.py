"""Training of a module that scores pairs, on one rank: Adam on the squared error of batches of ratings.

J = sum over the batch of (r - rating)^2 / (N / T)          N train ratings in all, T steps of an epoch
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from recsys_dist.checkpoint.state import StateReader, TrainerState
from recsys_dist.dataset.sharding import share_shards
from recsys_dist.families.epoch_sums import EpochSums
from recsys_dist.families.neural.module import PairSource
from recsys_dist.families.neural.parallel import parallel_module
from recsys_dist.families.neural.ratings import PairBatches, Pairs, valid_pairs
from recsys_dist.families.neural.state import PairState
from recsys_dist.families.neural.state_tables import StateTables
from recsys_dist.families.schedule import warm_cosine
from recsys_dist.metrics import ErrorSums
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.trainer import EpochResult

DROPOUT_STREAM = 9
VALID_PAIRS = 1 << 16
"""Pairs predicted together."""


class PairTrainer:
    """Implements the protocol of protocols/trainer.py."""

    has_converged = False
    is_searching = False

    def __init__(self, family: PairSource, setup: TrainingSetup[Any]) -> None:
        self.epochs_done, self._step = 0, 0
        self._setup, self._collectives, self._world = setup, setup.collectives, setup.collectives.world
        dataset = setup.dataset
        self._share = share_shards(dataset.shards("users"), self._world.size)[self._world.rank]
        self._batches = self._collectives.together(
            "reading the train ratings",
            lambda: PairBatches(dataset, self._share, setup.settings.batch_size, setup.seed),
        )
        self._model = parallel_module(family, setup)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters.values(),
            lr=setup.settings.learning_rate,
            weight_decay=setup.settings.weight_decay,
        )
        self._tables = StateTables(self._model, self._optimizer, dataset, self._world)
        self._sums = EpochSums(self._collectives)
        self._valid: Pairs | None = None

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Run the remaining batches of an epoch; calls `should_stop` before each."""
        while self._step < self._batches.steps:
            if should_stop():
                return self._result(finished=False)
            self._train_step()
            self._step += 1
        result = self._result(finished=True)
        self.epochs_done, self._step = self.epochs_done + 1, 0
        self._sums.reset()
        return result

    def _train_step(self) -> None:
        pairs = self._batches.batch(self.epochs_done, self._step)
        rating_N = torch.from_numpy(pairs.rating_N).to(self._world.device)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self._model.module.train()
        self._optimizer.zero_grad(set_to_none=True)
        with self._seeded():
            error_N = self._model.ratings(pairs) - rating_N
        mean_length = self._batches.num_ratings / self._batches.steps
        self._model.add_gradients(error_N.square().sum() / mean_length)
        self._optimizer.step()
        self._sums.add(error_N)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Seed random draws (dropout) by step and rank, so that a resumed run repeats them."""
        key = (self._setup.seed, DROPOUT_STREAM, self.epochs_done, self._step, self._world.rank)
        device = self._world.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
            yield

    def _learning_rate(self) -> float:
        total = self._setup.epochs * self._batches.steps
        done = (self.epochs_done * self._batches.steps + self._step + 1) / (total + 1)
        return warm_cosine(self._setup.settings.learning_rate, done)

    @torch.no_grad()
    def validate(self) -> ErrorSums:
        """Errors on the validation split."""
        if self._valid is None:
            self._valid = self._collectives.together(
                "reading the valid ratings", lambda: valid_pairs(self._setup.dataset, self._share)
            )
        self._model.module.eval()
        rating, sums = self._setup.dataset.manifest.rating, EpochSums(self._collectives)
        # With sharded tables all ranks must take part, even those without pairs left.
        for start in range(0, max(self._collectives.gather_json(len(self._valid))), VALID_PAIRS):
            pairs = self._valid.at(slice(start, start + VALID_PAIRS))
            predicted_N = self._model.ratings(pairs).clamp(rating.min, rating.max).double()
            sums.add(predicted_N - torch.from_numpy(pairs.rating_N).to(self._world.device))
        return sums.total()

    def state(self) -> TrainerState:
        """Own rows of sharded tables, an even range of replicated ones, and the position in the epoch."""
        tables = self._tables.to_save()
        values = PairState(
            epoch=self.epochs_done,
            step=self._step,
            sums=self._sums.saved(within_epoch=self._step > 0),
            optimizer=self._tables.num_steps,
            rest=tables["rest"].num_rows if "rest" in tables else 0,
            buffers=tables["buffers"].num_rows if "buffers" in tables else 0,
        )
        return TrainerState(tables, values.model_dump(mode="json"))

    def load_state(self, reader: StateReader) -> None:
        """Continue from a state of any number of ranks; exactly, if the number of ranks is the same."""
        saved = PairState.of(reader.values)
        self.epochs_done, self._step = saved.epoch, saved.step
        self._tables.load(reader, saved.optimizer)
        self._sums.load(saved.sums)

    def _result(self, finished: bool) -> EpochResult:
        """The result with errors over all ranks."""
        train = self._sums.total()
        return EpochResult(train, train.count, {"learning_rate": self._learning_rate()}, finished)
