"""The interface between the training loop and a trainer: EM and gradient descent have only epochs in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from recsys_dist.checkpoint.state import StateReader, TrainerState
from recsys_dist.metrics import ErrorSums


@dataclass(frozen=True)
class Trial:
    """Settings that a search has tried, judged on ratings that were not trained on."""

    settings: str
    figure: str
    """Which figure judged, such as "nDCG@10"."""
    value: float
    limit: float | None
    """The value that it had to pass to be kept; None if all trials were compared with each other."""
    is_kept: bool


@dataclass(frozen=True)
class EpochResult:
    """Results of one epoch, summed over all ranks.

    `train`: errors over the train ratings. A posterior with covariances reports the expected squared error, which
    includes its own uncertainty; unknown sums are NaN. None: the model ranks items and predicts no ratings; its
    `extra` figures are then the ones of the log. `num_ratings`: the train ratings of the epoch. `extra`: named
    figures of the model. `finished` is False if the epoch was interrupted by a stop request; the trainer's state
    can then be saved and resumed from this point. `note`: a decision of the model, as a message. `trials`: those
    that ended in this epoch.
    """

    train: ErrorSums | None
    num_ratings: int
    extra: Mapping[str, float]
    finished: bool = True
    note: str | None = None
    trials: Sequence[Trial] = ()


class Trainer(Protocol):
    """One model in training on one rank. Every method is collective: all ranks must call it."""

    epochs_done: int
    """Completed epochs."""

    @property
    def has_converged(self) -> bool:
        """Whether further epochs would change almost nothing."""

    @property
    def is_searching(self) -> bool:
        """Whether the trainer is tuning settings; the validation error may then rise for a while."""

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Run one epoch. `should_stop` is a collective with the same answer on all ranks; trainers with long
        epochs call it between steps, equally often on every rank."""

    def validate(self) -> ErrorSums | None:
        """Errors on the validation split, summed over all ranks; predictions are clipped to the rating range. None
        if the model predicts no ratings."""

    def state(self) -> TrainerState:
        """This rank's part of the state to save."""

    def load_state(self, reader: StateReader) -> None:
        """Continue from a saved state of any number of ranks."""
