"""Preparation of 27 million synthetic ratings beside DuckDB, which makes the same of the file."""

from __future__ import annotations

import statistics

from benchmarks.environments import UnavailableError, version_of
from benchmarks.prepare import Timed, beside_duckdb
from benchmarks.suites.suite import Measured, Options, repeated, significant
from recsys_dist.errors import ConfigError

RUNS = 3
SOURCES = {"csv": "CSV", "parquet": "Parquet"}
OURS, THEIRS, MEMORY = "prepare, two workers", "DuckDB, two threads", "memory of prepare, all processes"


def prepare(options: Options) -> Measured:
    """Seconds of both, and the memory of ours."""
    runs = options.runs or RUNS
    try:
        measured = beside_duckdb(options.work, runs, options.require_generator())
    except UnavailableError as reason:
        raise ConfigError(f"the suite prepare needs DuckDB: {reason}") from None
    return table_of(measured, f"Reading 27 million ratings, ids, a sort by both, shards; {repeated(runs)}")


def table_of(measured: list[Timed], title: str) -> Measured:
    """A row for each format of the file."""
    table = Measured(title, "from", (OURS, THEIRS, MEMORY))
    for timed in measured:
        row, seconds = SOURCES[timed.source], significant(statistics.median(timed.seconds))
        if timed.program == "DuckDB":
            table.add(row, THEIRS, seconds, "s", f"duckdb {version_of('duckdb')}")
        else:
            table.add(row, OURS, seconds, "s")
            table.add(row, MEMORY, significant(max(timed.peak_gb)), "GB")
    return table
