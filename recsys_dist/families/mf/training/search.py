"""Model selection during training: which form of matrix factorization the data supports, and when to stop.

Candidates are judged on ratings that training does not see: the validation split, or a tuning holdout of the train
ratings. Once the plain model gains little from another epoch, the candidate changes are tried one by one; twice as
many factors come first, where their number is open and the last ones gain much (factor_curve.py). A candidate must
gain more in its few epochs than the model would have gained without it; otherwise it is reverted. At the end all
train ratings are used, and training continues until the likelihood bound converges. It ends early if the holdout
error rises: the bound, which takes users and items as independent, may keep rising with it.

    settling --candidate--> trying --kept or reverted--> settling ... --no candidate left--> polishing --> done

The holdout selects lambda too. The alternative, the evidence of lambda with log det(F^T F + lambda I) by a
stochastic trace, was worse in a prototype (K=16, 40 epochs). Test RMSE, evidence against holdout: ML-100K u1 .8981
against .8854, ML-1M .8259 against .8230, MovieTweetings 1.5056 against 1.4895.

The state is small and immutable; checkpoints include it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.protocols.trainer import Trial
from recsys_dist.strict_model import StrictModel

Constrained = Literal["none", "users", "items", "both"]
Noise = Literal["shared", "users", "both"]

FIRST_REGULARIZATION = 2.0
REGULARIZATION_STEP = 2.5
TRIAL_EPOCHS, GROWTH_EPOCHS = 4, 8
"""Epochs of a trial; additional factors begin small and take longer to show what they are worth."""
SETTLED_GAIN = 2e-3
"""Try the next candidate once an epoch lowers the holdout squared error by less than this fraction."""
STILL_GAIN = 4e-4
"""End the search once an epoch lowers the holdout squared error by less than this fraction."""
EXACT_ERROR = 1e-4
"""Holdout squared error, as a fraction of the variance of the ratings, that ends the search. The rest is rounding,
and precisions fitted to it would only amplify it."""
LEAST_POLISHING = 3
"""Least number of epochs with all ratings after the search."""
MOST_FACTORS = 128
"""The search doubles the number of factors up to this one."""


class Form(StrictModel):
    """A form of the model."""

    constrained: Constrained
    regularization: float
    """lambda of the constrained priors"""
    noise: Noise
    factors: int | None = None
    """K, where the settings leave it open."""

    def beside(self, other: Form | None) -> str:
        """The form as a change of another one: its number of factors if that differs, else the rest."""
        if other is not None and self.factors != other.factors:
            return f"{self.factors} factors"
        return str(self)

    def __str__(self) -> str:
        weight = "" if self.constrained == "none" else f" (lambda {self.regularization:g})"
        return f"constrained: {self.constrained}{weight}, noise: {self.noise}"


class Search(StrictModel):
    """State of the search."""

    phase: Literal["settling", "trying", "polishing", "done"]
    form: Form
    tried: tuple[str, ...] = ()
    epochs: int = 0
    """Epochs done in this phase."""
    error: float | None = None
    """Holdout squared error after the last epoch."""
    before: Form | None = None
    """The form to return to if the trial fails."""
    first_error: float | None = None
    """Holdout squared error at the start of this phase."""
    before_gain: float = 0.0
    overfits: bool = False
    """Whether the holdout error rose at the end; polishing then takes only `LEAST_POLISHING` epochs."""
    bound: float | None = None
    """The likelihood bound per rating after the last epoch of polishing."""

    @classmethod
    def start(cls, settings: MfSettings, can_judge: bool, factors: int | None = None) -> Search:
        """Search over what `settings` leave open; only polish if they leave nothing open or nothing can judge.

        `factors`: the number to begin with, if it is open.
        """
        form = Form(
            constrained="none" if settings.constrained == "auto" else settings.constrained,
            regularization=settings.constrained_regularization or FIRST_REGULARIZATION,
            noise="shared" if settings.noise == "auto" else settings.noise,
            factors=factors,
        )
        search = cls(phase="settling", form=form)
        if not can_judge or search._next_candidate(settings) is None:
            return cls(phase="polishing", form=form)
        return search

    @property
    def is_searching(self) -> bool:
        """Whether the search still needs its holdout."""
        return self.phase in {"settling", "trying"}

    def after_search_epoch(
        self,
        error: float,
        variance: float,
        settings: MfSettings,
        supports_more: Callable[[], bool] = lambda: False,
    ) -> tuple[Search, str | None]:
        """The state after an epoch with holdout squared error `error`, and a message for the log.

        `variance` is the variance of the ratings; `supports_more` is asked before more factors are tried.
        """
        if self.phase == "settling" and error <= EXACT_ERROR * variance:
            return self.polish(), f"keeping {self.form}, which leaves almost no error"
        gain = 1 - error / self.error if self.error else None
        first_error = error if self.first_error is None else self.first_error
        here = self.model_copy(update={"epochs": self.epochs + 1, "error": error, "first_error": first_error})
        if self.phase == "trying":
            return here._after_trial() if here.epochs >= here._trial_epochs else (here, None)
        is_settled = gain is not None and gain <= SETTLED_GAIN
        if is_settled:
            here = here._deciding_about_growth(settings, supports_more)
        candidate = here._next_candidate(settings)
        if candidate is None:
            is_still = gain is not None and gain <= STILL_GAIN and here.epochs >= TRIAL_EPOCHS
            return here._after_search(first_error) if is_still else (here, None)
        if gain is None or not is_settled:
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
        return trial, f"trying {form.beside(here.form)}"

    def _deciding_about_growth(self, settings: MfSettings, supports_more: Callable[[], bool]) -> Search:
        """Drop more factors as the next candidate where the ratings do not support them."""
        candidate = self._next_candidate(settings)
        if candidate is None or candidate[1].factors == self.form.factors or supports_more():
            return self
        return self.model_copy(update={"tried": (*self.tried, candidate[0])})

    def _after_trial(self) -> tuple[Search, str]:
        assert self.before is not None
        assert self.error is not None
        expected = self._expected_error
        form = self.form if self.error < expected else self.before
        verdict = "kept" if self.error < expected else "reverted"
        changes = f"squared error {self.first_error:.5f} -> {self.error:.5f} in {self.epochs} epochs"
        message = f"{self.form.beside(self.before)} {verdict}: {changes}, {expected:.5f} expected without"
        kept = self.tried if form == self.before else (*self.tried, f"kept {self.tried[-1]}")
        # The error of a reverted trial says nothing about the form that continues.
        error = self.error if form == self.form else None
        return Search(phase="settling", form=form, tried=kept, error=error, first_error=error), message

    def ending_trial(self, error: float) -> Trial | None:
        """The trial that ends with an epoch of holdout squared error `error`; None if none does."""
        if self.phase != "trying" or self.epochs + 1 < self._trial_epochs:
            return None
        expected = self._expected_error
        return Trial(self.form.beside(self.before), "squared error", error, expected, error < expected)

    @property
    def _trial_epochs(self) -> int:
        assert self.before is not None, "a trial starts from another form"
        return TRIAL_EPOCHS if self.form.factors == self.before.factors else GROWTH_EPOCHS

    @property
    def _expected_error(self) -> float:
        """Holdout squared error that the form before would have after a trial, if it went on gaining as much in
        `TRIAL_EPOCHS` epochs. It gains less with each epoch, so that no trial is expected to gain more."""
        assert self.first_error is not None, "a trial starts with the error of the form before"
        expected: float = self.first_error * (1 - self.before_gain) ** TRIAL_EPOCHS
        return expected

    def _after_search(self, first_error: float) -> tuple[Search, str]:
        assert self.error is not None
        overfits = self.error > first_error * (1 + STILL_GAIN) ** (self.epochs - 1)
        message = f"keeping {self.form}"
        if overfits:
            changes = f"squared error {first_error:.5f} -> {self.error:.5f} in {self.epochs} epochs"
            message = f"{message}, and ending soon: {changes} on ratings not trained on"
        return self.polish().model_copy(update={"overfits": overfits}), message

    def _next_candidate(self, settings: MfSettings) -> tuple[str, Form] | None:
        for name, form in self._candidates(settings):
            if name not in self.tried:
                return name, form
        return None

    def _candidates(self, settings: MfSettings) -> list[tuple[str, Form]]:
        """Candidates in the order of trial."""
        form = self.form
        candidates: list[tuple[str, Form]] = []
        if settings.prior == "fixed" or settings.posterior == "point":
            return candidates
        if form.factors is not None and 0 < form.factors <= MOST_FACTORS // 2:
            more = 2 * form.factors
            candidates.append((f"{more} factors", form.model_copy(update={"factors": more})))
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

    def with_factors(self, factors: int) -> Search:
        """The same state with another number of factors."""
        return self.model_copy(update={"form": self.form.model_copy(update={"factors": factors})})

    def polish(self) -> Search:
        """End the search: all ratings, and the current form or the form before an unfinished trial."""
        form = self.before if self.phase == "trying" and self.before is not None else self.form
        return Search(phase="polishing", form=form, tried=self.tried)

    def after_polishing_epoch(self, bound: float, tolerance: float) -> Search:
        """The state after an epoch with likelihood bound `bound` per rating."""
        rose_little = self.bound is not None and bound - self.bound < tolerance
        still = tolerance > 0 and (self.overfits or rose_little)
        phase = "done" if still and self.epochs + 1 >= LEAST_POLISHING else "polishing"
        return self.model_copy(update={"phase": phase, "epochs": self.epochs + 1, "bound": bound})
