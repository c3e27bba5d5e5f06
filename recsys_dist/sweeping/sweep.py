"""A sweep: trials side by side, each a run folder, until the study has as many as wanted.

STUDY/
  study.db      the Optuna study
  trial-007/    the run folder of trial 7
  best.yaml     the configuration of the best trial so far, without run_dir
  .lock         held by the sweep that writes here

A sweep that was stopped or killed continues: trials that it had begun resume from their checkpoints.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.local_ranks import RANK
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError, TrainingError
from recsys_dist.process.preemption import watch_for_preemption
from recsys_dist.process.spawning import without_main_program
from recsys_dist.protocols.registry import name_for_configuration
from recsys_dist.storage.folder import Folder
from recsys_dist.sweeping.goal import Goal, choose_goal
from recsys_dist.sweeping.space import Space, with_settings
from recsys_dist.sweeping.study import FILE, Study, TrialRecord, load_optuna, open_study
from recsys_dist.sweeping.trial import RunningTrial
from recsys_dist.training.config import TrainConfig

TRIALS = 20
BEST, LOCK = "best.yaml", ".lock"
LOOK_S = 0.2
"""How often the epochs of trials are looked at."""
MOST_REPORTS = 100
"""Epochs of a trial that the study hears of, since each takes the time to write to the disk."""
SAVE_S = 60.0
"""How long a sweep that fails waits for its trials to save."""
MOST_FAILURES = 3
"""If so many trials have failed and all others too, the sweep ends."""
Say = Callable[[str], None]
"""Shows one line."""


@dataclass(frozen=True)
class SweepResult:
    """All trials by number, and the best of them."""

    goal: Goal
    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    """None if no trial is complete yet."""
    best_config: TrainConfig | None
    """The configuration with the settings of the best trial."""
    is_stopped: bool
    """Whether a signal ended the sweep before the last trial."""


def sweep(
    config: TrainConfig,
    space: Space,
    folder: str,
    trials: int = TRIALS,
    jobs: int | None = None,
    goal_name: str | None = None,
    prunes: bool = True,
    say: Say = lambda _line: None,
) -> SweepResult:
    """Train by `config` with settings of a space, until the study in `folder` has `trials` trials.

    `jobs` processes train side by side and divide the cores; None: as many as cores. `run_dir` and `device` of the
    configuration are not used: trials run on the CPU, in `folder`. On Ctrl-C or SIGTERM trials save their state,
    and the same call continues. Raises a one-line `RecsysDistError`, also if no trial was completed.
    """
    load_optuna()
    _require_cpu(config)
    dataset = Dataset.open(config.dataset)
    goal = choose_goal(goal_name, config, dataset)
    path = _local(folder)
    cores = os.cpu_count() or 1
    jobs = min(jobs or cores, trials)
    facts = _facts(config, space, goal, dataset)
    with (
        _made(path),
        open_study(path, space, goal, facts, config.seed, prunes, space.parameters_of(config)) as study,
        tempfile.TemporaryDirectory(prefix="recsys_dist-sweep-") as stops,
    ):
        running = _Sweep(config, study, goal, path, Path(stops), max(1, cores // jobs), say)
        is_stopped = running.run(trials, jobs)
        best = study.best()
        best_config = None if best is None else _write_best(path, config, best, goal)
        result = SweepResult(goal, tuple(study.records()), best, best_config, is_stopped)
    _require_any(result)
    return result


class _Sweep:
    """Starts trials, looks at them and tells the study how they end."""

    def __init__(
        self, config: TrainConfig, study: Study, goal: Goal, folder: Path, stops: Path, num_threads: int, say: Say
    ) -> None:
        self._config, self._study, self._goal, self._folder = config, study, goal, folder
        self._stops, self._num_threads, self._say = stops, num_threads, say
        self._running: list[RunningTrial] = []
        self._reported: dict[int, set[int]] = {}
        self._has_ended = threading.Event()

    def run(self, trials: int, jobs: int) -> bool:
        """Run until there are `trials` trials; returns whether a signal has ended it before."""
        with watch_for_preemption() as stopped, without_main_program(RANK):
            try:
                left = sorted(self._study.left_running().items())
                while True:
                    while not stopped() and len(self._running) < jobs and (left or self._is_missing(trials)):
                        self._start(*(left.pop(0) if left else self._study.ask()))
                    if not self._running:
                        return stopped() and (bool(self._study.left_running()) or self._is_missing(trials))
                    self._has_ended.wait(LOOK_S)
                    self._has_ended.clear()
                    self._look(stopped())
            finally:
                for trial in self._running:
                    trial.stop()
                for trial in self._running:
                    trial.wait(SAVE_S)

    def _is_missing(self, trials: int) -> bool:
        """Whether another trial is to begin. Raises `TrainingError` if trials do nothing but fail."""
        records = self._study.records()
        if len(records) >= MOST_FAILURES and all(one.error is not None for one in records):
            raise TrainingError(f"the first {len(records)} trials have failed: {records[0].error}")
        return len(records) < trials

    def _start(self, number: int, settings: Mapping[str, Any]) -> None:
        run_dir = self._folder / f"trial-{number:03d}"
        self._reported[number] = self._study.reported(number)
        try:
            config = with_settings(self._config, {**settings, "run_dir": str(run_dir), "device": "cpu"}, "trial")
        except ConfigError as error:
            self._study.fail(number, str(error))
            self._say(f"trial {number} failed: {error}")
            return
        stop_file = self._stops / run_dir.name
        trial = RunningTrial(number, config, self._goal, self._num_threads, stop_file, self._has_ended.set)
        self._running.append(trial)
        trial.start()

    def _look(self, is_stopping: bool) -> None:
        for trial in list(self._running):
            is_over = trial.is_over
            self._report(trial)
            if is_over:
                self._running.remove(trial)
                self._end(trial, is_stopping)
            elif is_stopping:
                trial.stop()

    def _report(self, trial: RunningTrial) -> None:
        if self._goal is not Goal.RATINGS:
            return
        every = -(-self._config.training.epochs // MOST_REPORTS)
        for epoch, rmse in trial.judged_epochs().items():
            if epoch % every == 0 and epoch not in self._reported[trial.number]:
                self._reported[trial.number].add(epoch)
                if self._study.report(trial.number, epoch, rmse) and not trial.is_pruned:
                    trial.prune()

    def _end(self, trial: RunningTrial, is_stopping: bool) -> None:
        number, result, seconds = trial.number, trial.result(), trial.seconds
        if trial.error is not None and is_stopping:
            return  # perhaps by the signal that stops the sweep: the next start repeats it
        if trial.error is not None:
            self._study.fail(number, trial.error)
            self._say(f"trial {number} failed: {trial.error}")
        elif result is not None:
            self._study.complete(number, *result, seconds)
            self._tell_best(number, result[0])
        elif trial.is_pruned:
            self._study.prune(number, seconds)
            self._say(f"trial {number} stopped early")

    def _tell_best(self, number: int, value: float) -> None:
        best = self._study.best()
        assert best is not None, "a trial was completed"
        if best.number == number:
            _write_best(self._folder, self._config, best, self._goal)
        self._say(f"trial {number}: {self._goal.figure} {value:.4f}; best {best.value:.4f} in trial {best.number}")


def _require_cpu(config: TrainConfig) -> None:
    if World.from_environment("cpu").size > 1:
        raise ConfigError("sweep starts its own processes; run it without torchrun or srun")
    if config.device not in {"auto", "cpu"}:
        raise ConfigError(f"device: {config.device} is a GPU, but trials run on the CPU; add device=cpu")


def _local(folder: str) -> Path:
    place = Folder(folder)
    if not place.is_local:
        raise ConfigError(
            f"--study {folder} is a URL, but the study is a SQLite file; give a folder on a local disk"
        )
    return place.local_path("")


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create and lock the folder. Raises `ConfigError` if it has other uses, or another sweep holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    if others and FILE not in others:
        raise ConfigError(f"--study: {folder} holds other files, such as {others[0]}; give a new folder")
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"--study: another sweep is writing to {folder}; wait for its end") from None
        yield


def _facts(config: TrainConfig, space: Space, goal: Goal, dataset: Dataset) -> dict[str, Any]:
    """What makes two calls the same study; settings that are searched may differ."""
    settings = {
        **config.result_settings(),
        "training.epochs": config.training.epochs,
        "training.patience": config.training.patience,
    }
    fixed = {key: value for key, value in settings.items() if key not in space.dimensions}
    # First what was asked for: a key that has left the space is not what has changed.
    return {"the space": space.to_tree(), **fixed, "--for": goal.value, "the digest of dataset": dataset.digest}


def _write_best(folder: Path, config: TrainConfig, best: TrialRecord, goal: Goal) -> TrainConfig:
    found = with_settings(config, best.settings, "best trial")
    tree = found.model_dump(mode="json")
    del tree["run_dir"]
    tree["model"]["kind"] = name_for_configuration(config.family)
    head = (
        f"# Trial {best.number} of a sweep, {goal.figure} {best.value:.6f}: train --config FILE run_dir=RUN_DIR\n"
    )
    text = head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    Folder(str(folder)).expect().write_bytes(BEST, text.encode())
    return found


def _require_any(result: SweepResult) -> None:
    if result.best is None and not result.is_stopped:
        reason = next((f": {one.error}" for one in result.trials if one.error is not None), "")
        raise TrainingError(f"none of {len(result.trials)} trials was completed{reason}")
