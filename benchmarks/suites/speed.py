"""Seconds of an epoch of plain matrix factorization as ratings and ranks grow, on synthetic ratings."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from benchmarks.commands import PLAIN
from benchmarks.scaling import ITEMS, NANOSECONDS, Outcome, Timed, prepared
from benchmarks.suites.long_tail import LONG_TAIL, PATIENCE, made
from benchmarks.suites.suite import Measured, Options, millions, repeated, significant
from benchmarks.suites.trained import trained
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError

RUNS, RATINGS_PER_ITEM, GROWTH, RANKS = 3, 600, (1, 10, 30, 100), 27
"""Sizes in millions of ratings."""
ON_RANKS = {1: "one rank", 2: "two ranks"}
SETTINGS = " ".join(PLAIN)


def growth(options: Options) -> Measured:
    """Nanoseconds of a train rating in an epoch, items in proportion to the ratings; and of a long tail."""
    runs, generator = options.runs or RUNS, options.require_generator()
    title = f"Cost of a train rating in an epoch of mf (`{SETTINGS}`), ranks of one thread, {repeated(runs)}"
    table = Measured(title, "train ratings", tuple(ON_RANKS.values()))
    for size in options.sizes or GROWTH:
        dataset = prepared(options.work, size, round(size * 1e6 / RATINGS_PER_ITEM), generator)
        for ranks, column in ON_RANKS.items():
            outcome = Outcome({})
            outcome.measure_size(dataset, ranks, options.work, runs)
            _add_cost(table, column, outcome.sizes[0])
    _add_long_tail(table, made(options.work, "long-tail", generator, LONG_TAIL), options.work)
    return table


def _add_cost(table: Measured, column: str, timed: Timed) -> None:
    row = f"{millions(timed.num_ratings)}, {timed.num_items:,} items"
    table.add(row, column, significant(NANOSECONDS * timed.seconds / timed.num_ratings), "ns")


def _add_long_tail(table: Measured, path: Path, work: Path) -> None:
    """mf as shipped on two ranks."""
    run_dir = work / "long-tail-mf"
    epochs = trained("mf", path, run_dir, 2, PATIENCE).epochs
    dataset = Dataset.open(str(path))
    num_ratings = dataset.manifest.num_ratings["train"]
    row = f"a long tail, mf as shipped: {millions(num_ratings)}, {dataset.num_items:,} items"
    seconds = statistics.median(epochs[1:])
    table.add(row, ON_RANKS[2], significant(NANOSECONDS * seconds / num_ratings), "ns")


def ranks(options: Options) -> Measured:
    """Seconds of an epoch on one rank and more, and of two trainings of one rank side by side."""
    runs = options.runs or RUNS
    size, *more = options.sizes or (RANKS,)
    if more:
        raise ConfigError(f"the suite ranks takes one size; not {', '.join(f'{one:g}' for one in options.sizes)}")
    dataset, outcome = prepared(options.work, size, ITEMS, options.require_generator()), Outcome({})
    outcome.measure_efficiency(dataset, options.work, runs, rank_counts())
    num_ratings = outcome.efficiency[0].num_ratings
    told = f"{millions(num_ratings)} train ratings, ranks of one thread, {repeated(runs)}"
    table = Measured(f"An epoch of mf (`{SETTINGS}`) on {told}", "ranks", ("epoch",))
    *together, beside = outcome.efficiency
    one = together[0].seconds
    for timed in together:
        table.add(_ranks(timed.ranks), "epoch", significant(timed.seconds), "s")
    for timed in together[1:]:
        efficiency = one / (timed.ranks * timed.seconds)
        table.add(f"parallel efficiency of {_ranks(timed.ranks)}", "epoch", f"{100 * efficiency:.0f} %", "share")
    kept = f"{100 * one / beside.seconds:.0f} % of the speed of one alone"
    table.add("two independent trainings keep", "epoch", kept, "share")
    return table


def rank_counts() -> tuple[int, ...]:
    """One, two, and further powers of two up to the cores of this machine."""
    cores = len(os.sched_getaffinity(0))
    return tuple(2**power for power in range(max(2, cores.bit_length())))


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"
