"""What the training loop asks of a trainer. EM has no optimizer and AutoRec no M step: they share an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from recsys_dist.checkpoint.state import StateReader, TrainerState
from recsys_dist.metrics import ErrorSums


@dataclass(frozen=True)
class EpochResult:
    """What one epoch hands to the log. Sums are over all ranks already.

    `train`: errors over the train ratings; for a posterior with covariances the squared error that it expects, its
    own uncertainty included; NaN for a sum that the model does not know. `extra`: named figures of the model.
    `finished` is False where the epoch was left early because the run is asked to stop; the trainer's state is
    then one that can be saved and goes on from the same place. `note`: a decision that the model took, in words.
    """

    train: ErrorSums
    extra: Mapping[str, float]
    finished: bool = True
    note: str | None = None


class Trainer(Protocol):
    """One model in training on one rank. Every method is entered by all ranks together."""

    epochs_done: int
    """Completed epochs."""

    @property
    def has_converged(self) -> bool:
        """Whether the model says of itself that further epochs would change next to nothing."""

    @property
    def is_searching(self) -> bool:
        """Whether the model is trying something out, so that an error which rises for a while says nothing."""

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Run one epoch. `should_stop` is a collective with the same answer on all ranks; a trainer whose epochs
        are long asks it between steps, the same number of times on every rank."""

    def validate(self) -> ErrorSums:
        """Errors over the valid split, summed over all ranks; predictions clipped to the rating range."""

    def state(self) -> TrainerState:
        """This rank's part of the state, to be saved."""

    def load_state(self, reader: StateReader) -> None:
        """Continue from a saved state, written by any number of ranks."""
