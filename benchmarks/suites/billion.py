"""A billion ratings on one machine: what each stage costs, as benchmarks/billion.py measures it."""

from __future__ import annotations

from benchmarks.billion import EPOCHS, ITEMS, RATINGS, STAGES, USERS, Plan, Record, carry_out, require_room, total
from benchmarks.costs import Costs
from benchmarks.suites.suite import Measured, Options, significant

SECONDS, MEMORY, DISK = "seconds", "memory of all processes at the peak", "disk at the peak"
ALL = "all stages"


def billion(options: Options) -> Measured:
    """Seconds, memory and disk of each stage; WORK/billion keeps what an interrupted call has done."""
    folder = options.work / "billion"
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(folder, RATINGS, USERS, ITEMS, EPOCHS, keep=False)
    record = Record(plan)
    require_room(plan)
    carry_out(plan, record, [name for name in STAGES if name not in record.stages])
    return table_of(record)


def table_of(record: Record) -> Measured:
    """The table of a record of all stages."""
    table = Measured(
        f"{RATINGS:,} ratings of {USERS:,} users and {ITEMS:,} items, from Parquet to lists for all users, "
        "in two processes",
        "stage",
        (SECONDS, MEMORY, DISK),
    )
    for name in STAGES:
        _add(table, name, record.stages[name])
    _add(table, ALL, total(list(record.stages.values())))
    return table


def _add(table: Measured, row: str, costs: Costs) -> None:
    table.add(row, SECONDS, f"{costs.seconds:.0f}", "s")
    table.add(row, MEMORY, significant(costs.peak_gb), "GB")
    table.add(row, DISK, f"{costs.disk_gb:.1f}", "GB")
