"""Latency of `recsys-dist serve` on this machine: lists of a blend, 200 requests a second over loopback."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from benchmarks.commands import BIN, ml1m, run, train
from benchmarks.ranking import LISTS
from benchmarks.serving import RATE, RUNS, SECONDS, Served, measure
from benchmarks.suites.suite import Measured, Options, repeated, significant

MILLISECONDS = 1e3
ROWS = {
    "floor": "/health, which asks no model",
    "lists": "/recommend, ten items for one user",
    "reload": "the same, while the model is loaded anew again and again",
}
QUANTILES = {"median": 0.5, "99th percentile": 0.99, "longest": 1.0}


def serving(options: Options) -> Measured:
    """Milliseconds from the moment a request arrives, medians over the runs; and failed requests."""
    dataset, runs = ml1m(options.work, options.require_ml1m()), options.runs or RUNS
    blend = _blend(dataset, options.work)
    title = f"serve: a blend of {', '.join(LISTS)} of MovieLens 1M, {RATE:g} requests a second at random moments"
    return table_of(measure(str(blend), RATE, SECONDS, runs), f"{title}, {repeated(runs)} of {SECONDS:g} s")


def table_of(served: Served, title: str) -> Measured:
    """A row for each thing that was asked for."""
    table = Measured(title, "request", (*QUANTILES, "failed", "reloads"))
    for name, row in ROWS.items():
        times = served.times[name]
        for column, quantile in QUANTILES.items():
            milliseconds = MILLISECONDS * statistics.median(one.at(quantile) for one in times)
            table.add(row, column, significant(milliseconds), "ms")
        table.add(row, "failed", str(sum(len(one.errors) for one in times)), "requests")
    table.add(ROWS["reload"], "reloads", str(served.reloads), "reloads")
    return table


def _blend(dataset: Path, work: Path) -> Path:
    models = [work / f"serving-{config}" / "model" for config in LISTS]
    for config, model in zip(LISTS, models, strict=True):
        train(config, dataset, model.parent, 1)
        run(BIN / "recsys-dist", "merge", model.parent, "--output", model)
    blend = work / "serving-blend"
    shutil.rmtree(blend, ignore_errors=True)
    run(BIN / "recsys-dist", "blend", *models, "--dataset", dataset, "--output", blend, "--for", "lists")
    return blend
