"""A sweep from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from recsys_dist.api.training import new_config
from recsys_dist.console import new_console
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.protocols.family import ModelFamily, ModelSettings
from recsys_dist.sweeping.space import Space
from recsys_dist.sweeping.sweep import TRIALS, SweepResult
from recsys_dist.sweeping.sweep import sweep as run_sweep


def sweep(
    dataset: Dataset | str | os.PathLike[str],
    model: ModelSettings,
    space: Mapping[str, Any],
    study: str | os.PathLike[str],
    *,
    trials: int = TRIALS,
    jobs: int | None = None,
    goal: str | None = None,
    prune: bool = True,
    epochs: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    family: ModelFamily[Any] | None = None,
) -> SweepResult:
    """Search settings by an Optuna study in the folder `study`, until it has `trials` trials.

    Does the same as `recsys-dist sweep`. `space` is the content of its file, such as
    `{"model.factors": {"int": [4, 64], "log": True}, "model.prior": ["adaptive", "fixed"]}`; other settings are
    found as by `train`. `goal` is `"ratings"` or `"lists"`; None: what the kind of model is made for. The settings
    of the best trial are `best_config.model` of the result, to give to `train`.

    On Ctrl-C or SIGTERM trials save their state and `KeyboardInterrupt` is raised; the same call continues. Raises
    a one-line `RecsysDistError`, also if no trial was completed.
    """
    given = {
        "dataset": dataset.folder.url if isinstance(dataset, Dataset) else os.fspath(dataset),
        "run_dir": "unused",  # each trial has its own
        "seed": seed,
        "training": {"epochs": epochs, "patience": patience},
    }
    config = new_config("sweep", model, family, given, settings or {})
    wanted, console = Space.of(space, config, "space"), new_console(soft_wrap=True)
    result = run_sweep(config, wanted, os.fspath(study), trials, jobs, goal, prune, console.print)
    if result.is_stopped:
        raise KeyboardInterrupt(f"stopped: {os.fspath(study)} is saved; repeat the call to continue")
    return result
