"""The trials of a sweep as an Optuna study in FOLDER/study.db, for one process at a time.

The sweep itself asks for settings and tells results; trials do not open the study. So SQLite has one writer, and a
trial that is running when the study is opened is one whose sweep was killed: it needs no heartbeat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_dist.errors import ConfigError, DataError, StorageError
from recsys_dist.extras import how_to_install
from recsys_dist.sweeping.goal import Goal
from recsys_dist.sweeping.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

FILE = "study.db"
NAME = "sweep"
FACTS, ERROR, SECONDS, EPOCHS = "facts", "error", "seconds", "epochs"
"""Names of what the study and its trials keep besides parameters and values."""
RANDOM_TRIALS, FIRST_PRUNED_EPOCH = 5, 3
"""Trials that are drawn at random, and all trained whole; the first epoch after which a trial may be pruned."""
LONGEST_REASON = 300
WAIT_S = 60.0
"""How long SQLite waits for another program that reads the study."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial. `state` is complete, pruned, fail or running; `value` is None unless it is complete."""

    number: int
    state: str
    settings: Mapping[str, Any]
    value: float | None
    epochs: int | None
    seconds: float | None
    error: str | None


class Study:
    """An open study. A trial is known by its number."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._study, self._space = study, space
        self._open: dict[int, Trial] = {}

    def left_running(self) -> dict[int, dict[str, Any]]:
        """The settings of the trials that a killed or stopped sweep has not finished.

        A trial that it was killed in the middle of asking for lacks some settings, which are drawn now.
        """
        from optuna.trial import Trial, TrialState  # noqa: PLC0415 - an extra

        distributions = self._space.distributions()
        for one in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            trial = self._open.setdefault(one.number, Trial(self._study, one._trial_id))
            for name, distribution in distributions.items():
                if name not in one.params:
                    trial._suggest(name, distribution)
        return {number: self._settings(trial.params) for number, trial in self._open.items()}

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Number and settings of a new trial."""
        trial = self._study.ask(self._space.distributions())
        self._open[trial.number] = trial
        return trial.number, self._settings(trial.params)

    def reported(self, number: int) -> set[int]:
        """The epochs that were reported of a running trial."""
        return set(self._study.get_trials(deepcopy=False)[number].intermediate_values)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Report the value after an epoch; returns whether the trial is worse than most others there."""
        self._open[number].report(value, epoch)
        return bool(self._open[number].should_prune())

    def complete(self, number: int, value: float, epochs: int, seconds: float) -> None:
        """End a trial with its value."""
        self._tell(number, "COMPLETE", value, {EPOCHS: epochs, SECONDS: seconds})

    def prune(self, number: int, seconds: float) -> None:
        """End a trial that was stopped early."""
        self._tell(number, "PRUNED", None, {EPOCHS: max(self.reported(number), default=0), SECONDS: seconds})

    def fail(self, number: int, error: str) -> None:
        """End a trial that has failed."""
        self._tell(number, "FAIL", None, {ERROR: error})

    def records(self) -> list[TrialRecord]:
        """All trials that have begun, by number."""
        return [self._record(one) for one in self._study.get_trials(deepcopy=False) if one.state.name != "WAITING"]

    def best(self) -> TrialRecord | None:
        """The complete trial with the best value, the first of equal ones; None if there is none."""
        complete = [one for one in self.records() if one.value is not None]
        sign = 1 if self._study.direction.name == "MINIMIZE" else -1
        return min(complete, key=lambda one: (sign * (one.value or 0.0), one.number), default=None)

    def _tell(self, number: int, state: str, value: float | None, facts: Mapping[str, Any]) -> None:
        from optuna.trial import TrialState  # noqa: PLC0415 - an extra

        trial = self._open.pop(number)
        for name, fact in facts.items():
            trial.set_user_attr(name, fact)
        self._study.tell(trial, value, TrialState[state])

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        is_complete, kept = trial.state.name == "COMPLETE", trial.user_attrs
        return TrialRecord(
            trial.number,
            trial.state.name.lower(),
            self._settings(trial.params),
            trial.value if is_complete else None,
            kept.get(EPOCHS),
            kept.get(SECONDS),
            kept.get(ERROR),
        )

    def _settings(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return self._space.settings(parameters)


@contextmanager
def open_study(
    folder: Path,
    space: Space,
    goal: Goal,
    facts: Mapping[str, Any],
    seed: int,
    prunes: bool,
    first: Mapping[str, Any] | None,
) -> Iterator[Study]:
    """Open the study in `folder`, or create it.

    `facts` must be the same whenever it is opened. `first`: parameters of the first trial of a new study. Raises
    `ConfigError` if Optuna is not installed or the facts differ, and `StorageError` if the file cannot be written.
    """
    optuna, storage = load_optuna(), _storage(folder / FILE)
    try:
        study = optuna.create_study(
            storage=storage, study_name=NAME, load_if_exists=True, direction=goal.direction, sampler=None
        )
        _require_same(study, facts, folder)
        # With the same seed a study that is opened again would draw the same settings again.
        seeds = seed + len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seeds % 2**32)
        study.pruner = (
            optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=FIRST_PRUNED_EPOCH)
            if prunes
            else optuna.pruners.NopPruner()
        )
        if first is not None and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(first))
        yield Study(study, space)
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(f"cannot write {folder / FILE}: {_reason(error.__cause__ or error)}") from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def load_optuna() -> Any:
    """The module. Raises `ConfigError` if it is not installed."""
    try:
        import optuna  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise ConfigError(f"sweep: {error}; {how_to_install('sweep')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _storage(path: Path) -> Any:
    from optuna.storages import RDBStorage  # noqa: PLC0415 - an extra
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with Optuna

    try:
        return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": WAIT_S}})
    except (SQLAlchemyError, RuntimeError) as error:
        raise DataError(
            f"{path} is not a study that can be opened: {_reason(error)}; give another --study"
        ) from error


def _reason(error: BaseException) -> str:
    """What SQLite says, without the statement."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:LONGEST_REASON]


def _require_same(study: optuna.Study, facts: Mapping[str, Any], folder: Path) -> None:
    """Keep the facts in a new study."""
    kept = study.user_attrs.get(FACTS)
    if kept is None:
        study.set_user_attr(FACTS, dict(facts))
        return
    for key in [*kept, *facts]:
        old, new = kept.get(key), facts.get(key)
        if json.dumps(old) != json.dumps(new):
            raise ConfigError(
                f"{key} is {json.dumps(new)}, but the study in {folder} was started with {json.dumps(old)}; use "
                "that value, or another --study"
            )
