"""Tuning of an AutoRec's open settings: implicit input, penalty and dropout.

Candidates are judged on the validation split, or on a tuning holdout of the train ratings. First, some epochs of
training settle the parameters. Each trial starts from the settled parameters and takes the same number of epochs,
with a learning rate that decays to 0, so trials differ in one setting only. The first trial repeats the initial
settings; the next ones vary implicit_input, follow the penalty in the direction that helps, and vary dropout. A
setting with a lower error is kept. Finally training restarts from the settled parameters, with the best settings,
all ratings and the learning rate schedule of a whole run.

    settling --> trying --kept or not--> trying ... --nothing left, or half of the epochs done--> finishing

The state is small and immutable; checkpoints include it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.protocols.trainer import Trial
from recsys_dist.strict_model import StrictModel

FIRST_REGULARIZATION = 200.0
REGULARIZATION_STEP = 2.0
MOST_FACTOR = 16.0
"""Largest ratio between the first penalty and a candidate, in either direction."""
FIRST_DROPOUT = {"items": 0.2, "users": 0.5}
DROPOUTS = (0.8, 0.5, 0.2)
HIDDEN_DROPOUTS = (0.2, 0.5)
IMPLICIT_INPUTS = (1.0, 4.0)
SETTLING_EPOCHS, TRIAL_EPOCHS = 3, 3
FULL_BATCH_EPOCHS = 5
"""Full-batch epochs (single steps) that count as one epoch of many steps."""
SEARCH_SHARE = 0.5
"""Largest share of all epochs for the search."""
KEPT_GAIN, LOOSER_GAIN = 5e-4, 1e-2
"""Relative gain in squared error that a trial needs. A smaller one may be chance. With less penalty or dropout
(LOOSER_GAIN), a short trial fits faster, which says little about a whole training."""


class Choice(StrictModel):
    """The settings open to tuning, whether tuned or given."""

    regularization: float
    input_dropout: float
    implicit_input: float
    hidden_dropout: float = 0.0

    def __str__(self) -> str:
        hidden = f", hidden_dropout {self.hidden_dropout:g}" if self.hidden_dropout else ""
        return (
            f"regularization {self.regularization:g}, input_dropout {self.input_dropout:g}, "
            f"implicit_input {self.implicit_input:g}{hidden}"
        )


class AutorecSearch(StrictModel):
    """State of the search."""

    phase: Literal["settling", "trying", "finishing"]
    choice: Choice
    """Settings of the current training."""
    epochs: int = 0
    """Epochs done in this phase or trial."""
    best: Choice | None = None
    error: float | None = None
    """Holdout squared error of the best choice."""
    tried: tuple[Choice, ...] = ()

    @classmethod
    def start(cls, settings: AutorecSettings, epochs: int, can_judge: bool) -> AutorecSearch:
        """Search over what `settings` leave open; only finish if they leave nothing open or nothing can judge."""
        choice = first_choice(settings)
        is_open = leaves_open(settings) and obstacle(settings, epochs, can_judge) is None
        return cls(phase="settling" if is_open else "finishing", choice=choice)

    @property
    def is_searching(self) -> bool:
        """Whether the search still needs its holdout."""
        return self.phase != "finishing"

    def length(self, settings: AutorecSettings, epochs_left: int) -> int:
        """Total epochs of this phase or trial, given the epochs left in the training."""
        if not self.is_searching:
            return self.epochs + epochs_left
        length = SETTLING_EPOCHS if self.phase == "settling" else TRIAL_EPOCHS
        return length * _epochs(settings)

    def after_epoch(self) -> AutorecSearch:
        """The state after one more epoch within a phase or trial."""
        return self.model_copy(update={"epochs": self.epochs + 1})

    def after_stage(
        self, error: float, settings: AutorecSettings, epochs_left: int, epochs: int
    ) -> tuple[AutorecSearch, str]:
        """The state after a phase or trial with holdout squared error `error`, and a message for the log.

        `epochs_left` of all `epochs` are left.
        """
        if self.phase == "settling":
            return AutorecSearch(phase="trying", choice=self.choice), f"trying {self.choice}"
        message = f"{self.choice}: squared error {error:.5f} on ratings not trained on"
        best, least = self.best, self.error
        if best is None or least is None:
            best, least = self.choice, error
        elif error < least * (1 - (needed := _gain_needed(best, self.choice))):
            message += f", below {least:.5f}: kept"
            best, least = self.choice, error
        else:
            short = f" (it must be {needed:.2%} lower to be kept)" if error < least else ""
            message += f", {least:.5f} with {best}: reverted{short}"
        tried = (*self.tried, self.choice)
        candidate = next(_candidates(settings, best, tried), None)
        if candidate is None or epochs_left - TRIAL_EPOCHS * _epochs(settings) < epochs * (1 - SEARCH_SHARE):
            why = (
                "" if candidate is None else f", the last epochs are for all ratings{_left(settings, best, tried)}"
            )
            finishing = AutorecSearch(phase="finishing", choice=best, best=best, error=least, tried=tried)
            return finishing, f"{message}; keeping {best}{why}"
        trying = AutorecSearch(phase="trying", choice=candidate, best=best, error=least, tried=tried)
        return trying, f"{message}; trying {candidate}"

    def ending_trials(self, error: float) -> tuple[Trial, ...]:
        """The trial that ends with holdout squared error `error`; none while the parameters settle."""
        if self.phase != "trying":
            return ()
        if self.best is None or self.error is None:
            return (Trial(str(self.choice), "squared error", error, None, is_kept=True),)
        limit = self.error * (1 - _gain_needed(self.best, self.choice))
        return (Trial(str(self.choice), "squared error", error, limit, error < limit),)

    def finish(self) -> AutorecSearch:
        """End the search with the best choice so far, as the start of a new run."""
        return AutorecSearch(phase="finishing", choice=self.best or self.choice)


def leaves_open(settings: AutorecSettings) -> bool:
    """Whether `settings` leave anything to tune."""
    return next(_candidates(settings, first_choice(settings), ()), None) is not None


def obstacle(settings: AutorecSettings, epochs: int, can_judge: bool) -> str | None:
    """Why a training of `epochs` epochs cannot tune settings; None if it can."""
    least = math.ceil((SETTLING_EPOCHS + 2 * TRIAL_EPOCHS) * _epochs(settings) / SEARCH_SHARE)
    if epochs < least:
        return f"tuning needs a training of at least {least} epochs, from its start"
    return None if can_judge else "there are too few ratings to judge by"


def first_choice(settings: AutorecSettings) -> Choice:
    """The given settings, and initial values for the open ones."""
    # L-BFGS needs a deterministic objective.
    dropout = 0.0 if settings.optimizer == "lbfgs" else FIRST_DROPOUT[settings.orientation]
    return Choice(
        regularization=_or(settings.regularization, FIRST_REGULARIZATION),
        input_dropout=_or(settings.input_dropout, dropout),
        implicit_input=_or(settings.implicit_input, 0.0),
        hidden_dropout=_or(settings.hidden_dropout, 0.0),
    )


def _or(given: float | None, otherwise: float) -> float:
    return otherwise if given is None else given


def _gain_needed(best: Choice, candidate: Choice) -> float:
    looser = ("regularization", "input_dropout", "hidden_dropout")
    is_looser = any(getattr(candidate, name) < getattr(best, name) for name in looser)
    return LOOSER_GAIN if is_looser else KEPT_GAIN


def _left(settings: AutorecSettings, best: Choice, tried: tuple[Choice, ...]) -> str:
    """The open settings that no trial has changed."""
    left = {name for name, _ in _values(settings, best) if len({getattr(choice, name) for choice in tried}) == 1}
    return f" ({', '.join(sorted(left))} not tried)" if left else ""


def _epochs(settings: AutorecSettings) -> int:
    return FULL_BATCH_EPOCHS if settings.is_full_batch else 1


def _candidates(settings: AutorecSettings, best: Choice, tried: tuple[Choice, ...]) -> Iterator[Choice]:
    """Candidates in the order of trial: each changes one setting of the best to a value not yet tried."""
    for name, value in _values(settings, best):
        if value not in {getattr(choice, name) for choice in (*tried, best)}:
            yield best.model_copy(update={name: value})


def _values(settings: AutorecSettings, best: Choice) -> Iterator[tuple[str, float]]:
    if settings.implicit_input is None:
        yield from (("implicit_input", implicit_input) for implicit_input in IMPLICIT_INPUTS)
    # Only on request, and not last, since the epochs may not suffice for the last candidates.
    if settings.hidden_dropout is None and settings.optimizer != "lbfgs":
        yield from (("hidden_dropout", dropout) for dropout in HIDDEN_DROPOUTS)
    if settings.regularization is None:
        for factor in (REGULARIZATION_STEP, 1 / REGULARIZATION_STEP):
            penalty = best.regularization * factor
            if 1 / MOST_FACTOR <= penalty / FIRST_REGULARIZATION <= MOST_FACTOR:
                yield "regularization", penalty
    if settings.input_dropout is None and settings.optimizer != "lbfgs":
        yield from (("input_dropout", dropout) for dropout in DROPOUTS)


def untried(settings: AutorecSettings, epochs: int, can_judge: bool, choice: Choice) -> str | None:
    """Message about open settings that are not tuned; None if there are none."""
    why = obstacle(settings, epochs, can_judge) if leaves_open(settings) else None
    return None if why is None else f"{choice}: nothing else is tried; {why}"
