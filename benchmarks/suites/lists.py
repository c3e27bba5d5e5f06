"""Lists for all users of 27 million synthetic ratings, by this package and by implicit from the same factors."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.commands import BIN, PLAIN, run, synthetic, train
from benchmarks.environments import UnavailableError, set_up, version_of
from benchmarks.suites.suite import Measured, Options, repeated, significant
from benchmarks.top_items import compare, faster_block
from recsys_dist.errors import ConfigError

RUNS = 3
GIVEN = ("model.hidden=500", "model.regularization=60", "model.implicit_input=0", "model.input_dropout=0.5")
MODELS = {
    "mf, K=16": ("mf", tuple(PLAIN)),
    "user-AutoRec, 500 hidden units": ("autorec_user", GIVEN),
}
"""What is trained, for one epoch: how well the model predicts does not matter to the seconds of its lists."""
OURS, THEIRS = "this package", "implicit, which stops at the item numbers"


def lists(options: Options) -> Measured:
    """Seconds of the ten best items of every user."""
    try:
        set_up("implicit", options.work)
    except UnavailableError as reason:
        raise ConfigError(f"the suite lists needs implicit: {reason}") from None
    dataset, runs = synthetic(options.work, options.require_generator()), options.runs or RUNS
    title = "The ten best of 45,000 items for all of 270,000 users, written with their predicted ratings"
    table = Measured(f"{title}, {repeated(runs)}", "model", (OURS, THEIRS))
    for row, (config, overrides) in MODELS.items():
        _add(table, row, compare(_model(config, overrides, dataset, options.work), options.work, runs))
    return table


def _model(config: str, overrides: tuple[str, ...], dataset: Path, work: Path) -> Path:
    run_dir = work / f"lists-{config}"
    train(config, dataset, run_dir, 2, "training.epochs=1", *overrides)
    run(BIN / "recsys-dist", "merge", run_dir, "--output", run_dir / "model")
    return run_dir / "model"


def _add(table: Measured, row: str, seconds: dict[str, Any]) -> None:
    own, other = seconds["recsys-dist"], seconds["implicit"]
    block = faster_block(other)
    table.add(row, OURS, significant(statistics.median(own)), "s")
    versions = f"implicit {version_of('implicit')}"
    table.add(row, THEIRS, significant(statistics.median(one[block] for one in other)), "s", versions)
