"""What `sweep` prints: the trials, best first, and how to train with the best settings."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from rich.table import Table

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.sweeping.study import TrialRecord
    from recsys_dist.sweeping.sweep import SweepResult

MOST_ROWS = 20


def print_sweep(result: SweepResult, folder: str) -> None:
    """Print the best trials, reasons of failures, and the next commands."""
    console = new_console()
    trials = sorted(result.trials, key=lambda one: _rank(one, result.goal.direction == "maximize"))
    console.print(_table(trials[:MOST_ROWS], result.goal.figure))
    if len(trials) > MOST_ROWS:
        console.print(f"and {len(trials) - MOST_ROWS} more trials")
    for one in [trial for trial in trials if trial.error is not None][:MOST_ROWS]:
        console.print(f"Trial {one.number} failed: {one.error}", soft_wrap=True)
    if result.best is not None:
        at = folder.rstrip("/")
        config, run = shlex.quote(f"{at}/best.yaml"), shlex.quote(f"{at}/trial-{result.best.number:03d}")
        console.print(f"Train with the best: recsys-dist train --config {config} run_dir=RUN_DIR", soft_wrap=True)
        console.print(f"Or take the trial: recsys-dist merge {run} --output MODEL_DIR", soft_wrap=True)
    if result.is_stopped:
        console.print("Stopped: the state is saved. The same command continues.")


def _rank(trial: TrialRecord, is_more_better: bool) -> tuple[bool, float, int]:
    value = trial.value or 0.0
    return trial.value is None, -value if is_more_better else value, trial.number


def _table(trials: list[TrialRecord], figure: str) -> Table:
    table = Table(title="Trials", title_justify="left")
    keys = list(dict.fromkeys(key for one in trials for key in one.settings))
    for name in ("trial", figure, "epochs", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for key in keys:
        table.add_column(key.removeprefix("model."), justify="right", overflow="fold")
    for one in trials:
        value = one.state if one.value is None else f"{one.value:.4f}"
        epochs = "" if one.epochs is None else f"{one.epochs}"
        seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
        table.add_row(f"{one.number}", value, epochs, seconds, *(_shown(one.settings.get(key)) for key in keys))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
