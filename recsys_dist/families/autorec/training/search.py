"""Presence, penalty and dropout of an AutoRec where they are not given, found out on ratings withheld.

The validation split judges, or a share of the train ratings that is withheld for as long as this goes on.
Training settles first. Then each trial starts from where it settled and takes as many epochs, in which its
learning rate falls to 0, so that trials differ in one setting alone: first what was settled with; then
implicit_input, a path of penalties in the direction that helps, and dropout. What brings a lower error is kept.
In the end training goes on from where it settled, with what was kept, all ratings and the rate of a whole run.

    settling --> trying --kept or not--> trying ... --nothing left, or half of the epochs gone--> finishing

A small immutable state: it travels with the checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.strict_model import StrictModel

FIRST_REGULARIZATION = 200.0
REGULARIZATION_STEP = 2.0
MOST_FACTOR = 16.0
"""Between the first penalty and the last in either direction."""
FIRST_DROPOUT = {"items": 0.2, "users": 0.5}
DROPOUTS = (0.8, 0.5, 0.2)
HIDDEN_DROPOUTS = (0.2, 0.5)
IMPLICIT_INPUTS = (1.0, 4.0)
SETTLING_EPOCHS, TRIAL_EPOCHS = 3, 3
FULL_BATCH_EPOCHS = 5
"""Steps on all ratings that stand for an epoch of many steps."""
SEARCH_SHARE = 0.5
"""Of all epochs, at most."""
KEPT_GAIN, LOOSER_GAIN = 5e-4, 1e-2
"""The relative fall of the squared error that a trial has to bring. Less may be chance; and with less penalty or
dropout a short trial fits faster, whatever a whole training would make of it."""


class Choice(StrictModel):
    """The settings that are found out, or given."""

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
    """Where the search stands."""

    phase: Literal["settling", "trying", "finishing"]
    choice: Choice
    """Trained with now."""
    epochs: int = 0
    """Done in this phase or trial."""
    best: Choice | None = None
    error: float | None = None
    """The judged squared error that the best choice ended with."""
    tried: tuple[Choice, ...] = ()

    @classmethod
    def start(cls, settings: AutorecSettings, epochs: int, can_judge: bool) -> AutorecSearch:
        """The search that `settings` leave open; finishing alone where that is nothing, or nothing can judge."""
        choice = first_choice(settings)
        is_open = leaves_open(settings) and obstacle(settings, epochs, can_judge) is None
        return cls(phase="settling" if is_open else "finishing", choice=choice)

    @property
    def is_searching(self) -> bool:
        """Whether ratings are withheld."""
        return self.phase != "finishing"

    def length(self, settings: AutorecSettings, epochs_left: int) -> int:
        """Epochs of this phase or trial, of which some may be done, where so many are to come in all."""
        if not self.is_searching:
            return self.epochs + epochs_left
        length = SETTLING_EPOCHS if self.phase == "settling" else TRIAL_EPOCHS
        return length * _epochs(settings)

    def after_epoch(self) -> AutorecSearch:
        """One epoch further; nothing is decided."""
        return self.model_copy(update={"epochs": self.epochs + 1})

    def after_stage(
        self, error: float, settings: AutorecSettings, epochs_left: int, epochs: int
    ) -> tuple[AutorecSearch, str]:
        """The state after a phase or trial that ended with this squared error, and what there is to tell.

        `epochs_left` of all `epochs` are still to come.
        """
        if self.phase == "settling":
            return AutorecSearch(phase="trying", choice=self.choice), f"trying {self.choice}"
        told = f"{self.choice}: squared error {error:.5f} on ratings not trained on"
        best, least = self.best, self.error
        if best is None or least is None:
            best, least = self.choice, error
        elif error < least * (1 - (needed := _gain_needed(best, self.choice))):
            told += f", below {least:.5f}: kept"
            best, least = self.choice, error
        else:
            short = f" (to be kept it has to be {needed:.2%} lower)" if error < least else ""
            told += f", {least:.5f} with {best}: taken back{short}"
        tried = (*self.tried, self.choice)
        candidate = next(_candidates(settings, best, tried), None)
        if candidate is None or epochs_left - TRIAL_EPOCHS * _epochs(settings) < epochs * (1 - SEARCH_SHARE):
            why = (
                "" if candidate is None else f", the last epochs are for all ratings{_left(settings, best, tried)}"
            )
            finishing = AutorecSearch(phase="finishing", choice=best, best=best, error=least, tried=tried)
            return finishing, f"{told}; keeping {best}{why}"
        trying = AutorecSearch(phase="trying", choice=candidate, best=best, error=least, tried=tried)
        return trying, f"{told}; trying {candidate}"

    def finish(self) -> AutorecSearch:
        """Nothing more to find out: a new run with the best choice so far."""
        return AutorecSearch(phase="finishing", choice=self.best or self.choice)


def leaves_open(settings: AutorecSettings) -> bool:
    """Whether there is anything to find out."""
    return next(_candidates(settings, first_choice(settings), ()), None) is not None


def obstacle(settings: AutorecSettings, epochs: int, can_judge: bool) -> str | None:
    """Why nothing can be tried out in a training of so many epochs; None: it can."""
    least = math.ceil((SETTLING_EPOCHS + 2 * TRIAL_EPOCHS) * _epochs(settings) / SEARCH_SHARE)
    if epochs < least:
        return f"that needs a training of {least} epochs or more, from its start"
    return None if can_judge else "there are too few ratings to judge by"


def first_choice(settings: AutorecSettings) -> Choice:
    """What is given, and where nothing is, what the search begins with."""
    # L-BFGS needs an objective that stays the same.
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
    """The settings that no trial has changed, though they are open."""
    left = {name for name, _ in _values(settings, best) if len({getattr(choice, name) for choice in tried}) == 1}
    return f" ({', '.join(sorted(left))} not tried)" if left else ""


def _epochs(settings: AutorecSettings) -> int:
    return FULL_BATCH_EPOCHS if settings.is_full_batch else 1


def _candidates(settings: AutorecSettings, best: Choice, tried: tuple[Choice, ...]) -> Iterator[Choice]:
    """In the order in which they are tried: each changes one setting of the best to what was not tried yet."""
    for name, value in _values(settings, best):
        if value not in {getattr(choice, name) for choice in (*tried, best)}:
            yield best.model_copy(update={name: value})


def _values(settings: AutorecSettings, best: Choice) -> Iterator[tuple[str, float]]:
    if settings.implicit_input is None:
        yield from (("implicit_input", implicit_input) for implicit_input in IMPLICIT_INPUTS)
    # Only where it is asked for, and then not at the end, for which epochs may be too few.
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
    """What is told of settings that were left open and are not tried; None where none are."""
    why = obstacle(settings, epochs, can_judge) if leaves_open(settings) else None
    return None if why is None else f"{choice}: nothing else is tried; {why}"
