"""Choice of the penalty: hill climbing on a grid, judged by nDCG@10 on withheld ratings.

Each trial trains a small model on a sample of the users from scratch. The next trial is the first untried
neighbour of the best pair so far, at twice or half the regularization, or twice or half the weight of unobserved
pairs. When all of these are worse, the same with the root of 2. When these are worse, too, the best pair is tried
with the other targets, if the target is open.

The state is small and immutable; checkpoints include it.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from recsys_dist.families.ials.objective import Penalty
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.targets import TARGETS, TargetKind
from recsys_dist.protocols.trainer import Trial as JudgedTrial
from recsys_dist.strict_model import StrictModel

FIRST_REGULARIZATION, FIRST_WEIGHT = 8e-3, 0.3
STEP = 2**0.5
COARSE, FINE = 2, 1
"""Steps of a move. Coarse moves are between pairs of even steps."""
MOST_TRIALS = 16
TRIAL_FACTORS, TRIAL_EPOCHS = 64, 5


class Candidate(NamedTuple):
    """A penalty and a target."""

    steps: tuple[int, int]
    """Powers of `STEP`, for the regularization and for the weight."""
    target: TargetKind


class Trial(StrictModel):
    """A candidate and its nDCG."""

    steps: tuple[int, int]
    target: TargetKind
    ndcg: float


class PenaltySearch(StrictModel):
    """State of the search: the trials so far, in their order."""

    trials: tuple[Trial, ...] = ()
    num_judged: int = Field(default=0, ge=0)
    """Users with a relevant withheld rating."""
    is_over: bool = False

    @classmethod
    def start(cls, settings: IalsSettings, can_judge: bool) -> PenaltySearch:
        """Search for what `settings` leave open; over at once if nothing is open or nothing can judge."""
        is_open = None in {settings.regularization, settings.unobserved_weight, settings.target}
        return cls(is_over=not (is_open and can_judge))

    def next_candidate(self, settings: IalsSettings) -> Candidate | None:
        """The next one to try; None at the end."""
        if self.is_over:
            return None
        steps = self._next_steps(settings)
        if steps is not None:
            return Candidate(steps, first_target(settings))
        tried = {trial.target for trial in self.trials}
        others = [target for target in TARGETS if target not in tried] if settings.target is None else []
        return Candidate(self._best.steps, others[0]) if others else None

    def _next_steps(self, settings: IalsSettings) -> tuple[int, int] | None:
        """The next pair of the climb; None at its end."""
        trials = [trial for trial in self.trials if trial.target == first_target(settings)]
        if not trials:
            return (0, 0)
        if len(trials) >= MOST_TRIALS:
            return None
        tried, best = {trial.steps for trial in trials}, self._best.steps
        is_on_coarse_grid = all(step % COARSE == 0 for step in best)
        neighbours = _neighbours(best, COARSE, settings) if is_on_coarse_grid else []
        neighbours += _neighbours(best, FINE, settings)
        return next((steps for steps in neighbours if steps not in tried), None)

    def after(self, candidate: Candidate, ndcg: float, num_judged: int, settings: IalsSettings) -> PenaltySearch:
        """The state after a trial."""
        trials = (*self.trials, Trial(steps=candidate.steps, target=candidate.target, ndcg=ndcg))
        search = PenaltySearch(trials=trials, num_judged=num_judged)
        return search if search.next_candidate(settings) is not None else search.end()

    def end(self) -> PenaltySearch:
        """Keep the best pair so far."""
        return self.model_copy(update={"is_over": True})

    def penalty(self, settings: IalsSettings, steps: tuple[int, int] | None = None) -> Penalty:
        """The penalty of a pair of steps; without one, of the best pair so far."""
        steps = self._best.steps if steps is None else steps
        searched = FIRST_REGULARIZATION * STEP ** steps[0], FIRST_WEIGHT * STEP ** steps[1]
        return Penalty(
            regularization=settings.regularization or searched[0],
            unobserved_weight=settings.unobserved_weight or searched[1],
            frequency_scaling=settings.frequency_scaling,
        )

    def target(self, settings: IalsSettings) -> TargetKind:
        """The given target, or the best so far."""
        return settings.target or (self._best.target if self.trials else first_target(settings))

    def judged(self, settings: IalsSettings) -> list[JudgedTrial]:
        """The trials in their order, the best one kept."""
        penalties = [self.penalty(settings, trial.steps) for trial in self.trials]
        return [
            JudgedTrial(
                f"regularization {penalty.regularization:.3g}, unobserved_weight {penalty.unobserved_weight:.3g}, "
                f"target {trial.target}",
                "nDCG@10",
                trial.ndcg,
                None,
                trial == self._best,
            )
            for trial, penalty in zip(self.trials, penalties, strict=True)
        ]

    def message(self, settings: IalsSettings) -> str | None:
        """What was chosen and why, for the log; None if the settings leave nothing open."""
        penalty = self.penalty(settings)
        chosen = {
            "target": self.target(settings),
            "regularization": f"{penalty.regularization:.3g}",
            "unobserved_weight": f"{penalty.unobserved_weight:.3g}",
        }
        open_ones = {name: value for name, value in chosen.items() if getattr(settings, name) is None}
        text = ", ".join(f"{name}: {value}" for name, value in open_ones.items())
        if not open_ones:
            return None
        if not self.trials:
            return f"too few ratings to judge by; using {text}"
        return (
            f"using {text}: nDCG@10 {self._best.ndcg:.4f} on ratings withheld from {self.num_judged:,} users, the "
            f"best of {len(self.trials)} trials (from {min(trial.ndcg for trial in self.trials):.4f})"
        )

    @property
    def _best(self) -> Trial:
        none = Trial(steps=(0, 0), target=TARGETS[0], ndcg=0.0)
        return max(self.trials, key=lambda trial: trial.ndcg, default=none)


def first_target(settings: IalsSettings) -> TargetKind:
    """The target with which the penalty is found: the given one, if one is given."""
    return settings.target or TARGETS[0]


def _neighbours(steps: tuple[int, int], size: int, settings: IalsSettings) -> list[tuple[int, int]]:
    """The pairs that are `size` steps away in one setting that is open."""
    moves = [(size, 0), (-size, 0)] if settings.regularization is None else []
    moves += [(0, size), (0, -size)] if settings.unobserved_weight is None else []
    return [(steps[0] + one, steps[1] + other) for one, other in moves]
