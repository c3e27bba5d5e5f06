"""Training of mf beside other programs that predict ratings, on 27 million synthetic ratings and 2 threads."""

from __future__ import annotations

import argparse
import statistics

from benchmarks.environments import version_of
from benchmarks.opponents import Opponent, Training
from benchmarks.peers import TARGETS, Ours, install, prepared, rmse_of, rounds
from benchmarks.suites.accuracy import label_of
from benchmarks.suites.suite import Measured, Options, repeated, significant

RUNS, EPOCHS, DATA = 3, 20, "27m"
OPPONENTS = ("libmf", "surprise", "cmfrec", "spark")
COLUMNS = ("test RMSE", "seconds")


def peers(options: Options) -> Measured:
    """Test RMSE and seconds of training; of ours at the end, and once it is below LIBMF's lowest error."""
    runs, wanted = options.runs or RUNS, OPPONENTS if options.opponents is None else options.opponents
    arguments = argparse.Namespace(
        data=DATA,
        runs=runs,
        epochs=EPOCHS,
        target=TARGETS[DATA],
        folder=options.data,
        generator=options.require_generator(),
    )
    pythons = install(set(wanted), DATA, options.work)
    ours, theirs = rounds(pythons, prepared(options.work, arguments), options.work, arguments)
    return table_of(ours, theirs, f"27.2 million ratings, 2 threads (Surprise one), {repeated(runs)}")


def table_of(ours: Ours, theirs: dict[Opponent, list[Training]], title: str) -> Measured:
    """Ours, then the others."""
    table = Measured(title, "program", COLUMNS)
    if reached := ours.reaching(TARGETS[DATA]):
        epoch, seconds = reached
        _add(table, "mf, K=16, on the way", ours.rmse[epoch], seconds)
    whole = [sum(seconds) for seconds in ours.epoch_seconds]
    _add(table, "mf, K=16, at its end", ours.rmse[ours.last_epoch], whole)
    for one, trainings in theirs.items():
        seconds = [training.train_seconds for training in trainings]
        _add(table, label_of(one), rmse_of(trainings), seconds, f"{one.program} {version_of(one.environment)}")
    return table


def _add(table: Measured, row: str, rmse: float, seconds: list[float], versions: str = "") -> None:
    table.add(row, "test RMSE", f"{rmse:.4f}", "rating", versions)
    table.add(row, "seconds", significant(statistics.median(seconds)), "s", versions)
