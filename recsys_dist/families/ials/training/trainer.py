"""Training of iALS: the search for the penalty, then epochs of alternating solves, and the saved state.

    search     small models on a sample of the users, before the first epoch (search.py)
    epoch      items given the users, then users given the items (alternation.py)

So after each epoch the users are up to date with the items.
"""

from __future__ import annotations

from collections.abc import Callable

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.families.ials.objective import Penalty
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training.alternation import Alternation
from recsys_dist.families.ials.training.holdout import RankingHoldout
from recsys_dist.families.ials.training.ranking import RankingJudge
from recsys_dist.families.ials.training.search import TRIAL_EPOCHS, TRIAL_FACTORS, PenaltySearch, first_target
from recsys_dist.families.ials.training.state import IalsState
from recsys_dist.families.targets import Target
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.trainer import EpochResult


class IalsTrainer:
    """Trainer of `model.kind: ials`. Implements the protocol of protocols/trainer.py."""

    def __init__(self, setup: TrainingSetup[IalsSettings]) -> None:
        self.epochs_done = 0
        self._setup, self._settings = setup, setup.settings
        self._target = Target.of(first_target(setup.settings), setup.dataset.manifest)
        self._holdout = RankingHoldout.of(setup.dataset.manifest, setup.seed)
        self._search = PenaltySearch.start(setup.settings, can_judge=self._holdout is not None)
        self._begin()
        self._has_read = self._has_converged = False
        self._objective: float | None = None

    def _begin(self) -> None:
        """Set initial vectors; the interactions follow from the target."""
        self._model = self._alternation(self._settings.factors, self._target, None)
        self._model.start(self._setup.seed)

    def _alternation(self, factors: int, target: Target, holdout: RankingHoldout | None) -> Alternation:
        setup = self._setup
        return Alternation(setup.dataset, target, factors, setup.collectives, setup.memory_limit, holdout)

    def _take_target(self) -> None:
        """Begin anew if the search has chosen another target."""
        target = Target.of(self._search.target(self._settings), self._setup.dataset.manifest)
        if target != self._target:
            self._target = target
            self._begin()

    @property
    def has_converged(self) -> bool:
        """Whether the last epoch lowered the objective by less than `tolerance`."""
        return self._has_converged

    @property
    def is_searching(self) -> bool:
        """Whether the search for the penalty is not over."""
        return not self._search.is_over

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Search first, if the penalty is not known; then solve the items and the users."""
        if not self._search.is_over and not self._finish_search(should_stop):
            return EpochResult(None, 0, {}, finished=False)
        if not self._has_read:
            self._take_target()
            self._model.read()
            self._has_read = True
        objective, before = self._model.epoch(self._penalty), self._objective
        self._has_converged = before is not None and before - objective < self._settings.tolerance * before
        self._objective = objective
        self.epochs_done += 1
        is_first = self.epochs_done == 1
        note = self._search.message(self._settings) if is_first else None
        trials = self._search.judged(self._settings) if is_first else ()
        count = self._model.num_interactions
        return EpochResult(None, count, {"objective": objective / count}, note=note, trials=trials)

    @property
    def _penalty(self) -> Penalty:
        return self._search.penalty(self._settings)

    def _finish_search(self, should_stop: Callable[[], bool]) -> bool:
        """Run the trials that are left; False if a stop was requested in between."""
        setup, holdout, settings = self._setup, self._holdout, self._settings
        assert holdout is not None, "a search has something to judge by"
        model, kind = None, None
        while (candidate := self._search.next_candidate(settings)) is not None:
            if model is None or candidate.target != kind:
                kind, target = candidate.target, Target.of(candidate.target, setup.dataset.manifest)
                model = self._alternation(min(TRIAL_FACTORS, settings.factors), target, holdout)
                model.read()
                judge = RankingJudge(setup.dataset, model.sides["users"], target, holdout, setup.collectives)
            model.start(setup.seed)
            for _ in range(TRIAL_EPOCHS):
                model.epoch(self._search.penalty(settings, candidate.steps))
            self._search = self._search.after(candidate, *judge.ndcg(model), settings)
            if should_stop():
                return False
        return True

    def validate(self) -> None:
        """None: the model predicts no ratings."""

    def state(self) -> TrainerState:
        """Vectors of this rank's users and items; the search in `values`."""
        values = IalsState(
            epoch=self.epochs_done,
            search=self._search,
            objective=self._objective,
            has_converged=self._has_converged,
        )
        tables: dict[str, TableRows] = {
            side: TableRows(rows.start, self._setup.dataset.num_rows(side), {"vector": self._model.vectors[side]})
            for side, rows in self._model.sides.items()
        }
        return TrainerState(tables, values.model_dump(mode="json"))

    def load_state(self, reader: StateReader) -> None:
        """Restore the vectors of own rows, and the search."""
        saved = IalsState.of(reader.values)
        self.epochs_done, self._search, self._objective = saved.epoch, saved.search, saved.objective
        self._has_converged = saved.has_converged
        self._take_target()
        for side, rows in self._model.sides.items():
            self._model.vectors[side].copy_(reader.read_rows(side, rows.start, rows.stop)["vector"])
