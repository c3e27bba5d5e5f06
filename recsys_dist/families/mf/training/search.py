"""Which form of matrix factorization the data supports, found out while training, and when training is over.

Ratings that training does not see judge: the validation split, or a share of the train ratings that is withheld
for as long as this goes on. Once the plain model gains little from another epoch, one change after the other is
tried: its few epochs must bring more than the model would have gained without it, otherwise it is taken back. In
the end all ratings are given back, and training goes on until the likelihood bound stands still: unless the judged
error rises, since the bound, for which users and items are independent, may rise with it for long.

    settling --candidate--> trying --kept or taken back--> settling ... --no candidate left--> polishing --> done

Held-back ratings judge lambda too. Its evidence, with log det(F^T F + lambda I) by a stochastic trace, was tried
in their place on a prototype (K=16, 40 epochs, test RMSE by evidence against by held-back ratings): ML-100K u1
.8981 against .8854, ML-1M .8259 against .8230, MovieTweetings 1.5056 against 1.4895. Worse on all three, it
went.

A small immutable state: it travels with the checkpoints.
"""

from __future__ import annotations

from typing import Literal

from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.strict_model import StrictModel

Constrained = Literal["none", "users", "items", "both"]
Noise = Literal["shared", "users", "both"]

FIRST_REGULARIZATION = 2.0
REGULARIZATION_STEP = 2.5
TRIAL_EPOCHS = 4
SETTLED_GAIN = 2e-3
"""A relative fall of the judged squared error by an epoch below which the next candidate is tried."""
STILL_GAIN = 4e-4
"""The same below which the search is over."""
EXACT_ERROR = 1e-4
"""A judged squared error, in variances of the ratings, that leaves nothing to find out. What remains is rounding,
which precisions that follow it would only amplify."""
LEAST_POLISHING = 3
"""Epochs with all ratings after the search."""


class Form(StrictModel):
    """A form of the model."""

    constrained: Constrained
    regularization: float
    """lambda of the constrained priors"""
    noise: Noise

    def __str__(self) -> str:
        weight = "" if self.constrained == "none" else f" (lambda {self.regularization:g})"
        return f"constrained: {self.constrained}{weight}, noise: {self.noise}"


class Search(StrictModel):
    """Where the search stands."""

    phase: Literal["settling", "trying", "polishing", "done"]
    form: Form
    tried: tuple[str, ...] = ()
    epochs: int = 0
    """Done in this phase."""
    error: float | None = None
    """The judged squared error after the last epoch."""
    before: Form | None = None
    """The form to go back to from a trial."""
    first_error: float | None = None
    """The judged squared error that this phase began with."""
    before_gain: float = 0.0
    overfits: bool = False
    """Whether the judged error rose at last, so that more than the least polishing would harm."""
    bound: float | None = None
    """The likelihood bound per rating after the last epoch of polishing."""

    @classmethod
    def start(cls, settings: MfSettings, can_judge: bool) -> Search:
        """The search that `settings` leave open; polishing alone where that is nothing, or nothing can judge."""
        form = Form(
            constrained="none" if settings.constrained == "auto" else settings.constrained,
            regularization=settings.constrained_regularization or FIRST_REGULARIZATION,
            noise="shared" if settings.noise == "auto" else settings.noise,
        )
        search = cls(phase="settling", form=form)
        if not can_judge or search._next_candidate(settings) is None:
            return cls(phase="polishing", form=form)
        return search

    @property
    def is_searching(self) -> bool:
        """Whether ratings are withheld."""
        return self.phase in {"settling", "trying"}

    def after_search_epoch(self, error: float, variance: float, settings: MfSettings) -> tuple[Search, str | None]:
        """The state after one more epoch that ended with this squared error, and what there is to tell.

        `variance` is that of the ratings.
        """
        if self.phase == "settling" and error <= EXACT_ERROR * variance:
            return self.polish(), f"keeping {self.form}, by which all but nothing is left unexplained"
        gain = 1 - error / self.error if self.error else None
        first_error = error if self.first_error is None else self.first_error
        here = self.model_copy(update={"epochs": self.epochs + 1, "error": error, "first_error": first_error})
        if self.phase == "trying":
            return here._after_trial() if here.epochs >= TRIAL_EPOCHS else (here, None)
        candidate = here._next_candidate(settings)
        if candidate is None:
            is_still = gain is not None and gain <= STILL_GAIN and here.epochs >= TRIAL_EPOCHS
            return here._after_search(first_error) if is_still else (here, None)
        if gain is None or gain > SETTLED_GAIN:
            return here, None
        name, form = candidate
        trial = Search(
            phase="trying",
            form=form,
            tried=(*here.tried, name),
            error=error,
            before=here.form,
            first_error=error,
            before_gain=max(gain, 0.0),
        )
        return trial, f"trying {form}"

    def _after_trial(self) -> tuple[Search, str]:
        assert self.before is not None
        assert self.first_error is not None
        assert self.error is not None
        expected = self.first_error * (1 - self.before_gain) ** TRIAL_EPOCHS
        form = self.form if self.error < expected else self.before
        verdict = "kept" if self.error < expected else "taken back"
        changes = f"squared error {self.first_error:.5f} -> {self.error:.5f} in {TRIAL_EPOCHS} epochs"
        told = f"{self.form} {verdict}: {changes}, {expected:.5f} expected without"
        kept = self.tried if form == self.before else (*self.tried, f"kept {self.tried[-1]}")
        # After a step back the error of the trial says nothing about the form that goes on.
        error = self.error if form == self.form else None
        return Search(phase="settling", form=form, tried=kept, error=error, first_error=error), told

    def _after_search(self, first_error: float) -> tuple[Search, str]:
        assert self.error is not None
        overfits = self.error > first_error * (1 + STILL_GAIN) ** (self.epochs - 1)
        told = f"keeping {self.form}"
        if overfits:
            changes = f"squared error {first_error:.5f} -> {self.error:.5f} in {self.epochs} epochs"
            told = f"{told}, and ending soon: {changes} on ratings not trained on"
        return self.polish().model_copy(update={"overfits": overfits}), told

    def _next_candidate(self, settings: MfSettings) -> tuple[str, Form] | None:
        for name, form in self._candidates(settings):
            if name not in self.tried:
                return name, form
        return None

    def _candidates(self, settings: MfSettings) -> list[tuple[str, Form]]:
        """In the order in which they are tried."""
        form = self.form
        candidates: list[tuple[str, Form]] = []
        if settings.prior == "fixed" or settings.posterior == "point":
            return candidates
        if settings.constrained == "auto":
            candidates.append(("constrained", form.model_copy(update={"constrained": "both"})))
        if settings.noise == "auto":
            candidates.append(("noise of both", form.model_copy(update={"noise": "both"})))
            if "kept noise of both" not in self.tried:
                candidates.append(("noise of users", form.model_copy(update={"noise": "users"})))
        if settings.constrained_regularization is None and form.constrained != "none":
            higher, lower = form.regularization * REGULARIZATION_STEP, form.regularization / REGULARIZATION_STEP
            candidates.append(("more lambda", form.model_copy(update={"regularization": higher})))
            if "kept more lambda" not in self.tried:
                candidates.append(("less lambda", form.model_copy(update={"regularization": lower})))
        return candidates

    def polish(self) -> Search:
        """End the search: all ratings, the form as it stands, or as it stood before an unfinished trial."""
        form = self.before if self.phase == "trying" and self.before is not None else self.form
        return Search(phase="polishing", form=form, tried=self.tried)

    def after_polishing_epoch(self, bound: float, tolerance: float) -> Search:
        """The state after one more epoch, whose likelihood bound per rating was `bound`."""
        rose_little = self.bound is not None and bound - self.bound < tolerance
        still = tolerance > 0 and (self.overfits or rose_little)
        phase = "done" if still and self.epochs + 1 >= LEAST_POLISHING else "polishing"
        return self.model_copy(update={"phase": phase, "epochs": self.epochs + 1, "bound": bound})
