"""What `plan` prints: one table of memory, and one of everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.cli.show.model import pairs_table
from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.training.plan import Change, Plan, PlannedRank

MOST_COLUMNS = 4


def print_plan(plan: Plan) -> None:
    """Print memory by table and rank, traffic, checkpoint, time, and what to change if it does not fit."""
    console = new_console()
    console.print(_memory(plan))
    table = pairs_table("Training")
    if plan.note is not None:
        table.add_row("settings", plan.note)
    table.add_row("received from other ranks, an epoch", _megabytes(max(r.received_bytes for r in plan.ranks)))
    table.add_row("a checkpoint", _megabytes(plan.checkpoint_bytes))
    if plan.epoch_seconds is not None:
        what = "seconds in all" if plan.is_whole else "seconds of an epoch"
        table.add_row(f"{what}, on machines like this", f"{plan.epoch_seconds:,.3g}")
    room = "unknown" if plan.room is None else _megabytes(plan.room)
    table.add_row("memory that a rank has", room)
    table.add_row("fits", "yes" if plan.fits else "no")
    console.print(table)
    if plan.refusal is not None:
        console.print(f"Training would refuse to start: {plan.refusal}", soft_wrap=True, markup=False)
    for line in _advice(plan):
        console.print(line, soft_wrap=True, markup=False)


def _memory(plan: Plan) -> Table:
    """One column for each rank; of many ranks, for those with the most and the least."""
    table = Table(title="Memory at the peak", title_justify="left")
    table.add_column("", no_wrap=True)
    columns = _columns(plan)
    for name in columns:
        table.add_column(name, justify="right")
    for name in dict.fromkeys(name for rank in columns.values() for name in rank.memory):
        table.add_row(name, *(_megabytes(rank.memory.get(name, 0)) for rank in columns.values()))
    table.add_section()
    table.add_row("in all", *(_megabytes(rank.total) for rank in columns.values()))
    return table


def _columns(plan: Plan) -> dict[str, PlannedRank]:
    if len(plan.ranks) <= MOST_COLUMNS:
        return {f"rank {number}": rank for number, rank in enumerate(plan.ranks)}
    order = sorted(range(len(plan.ranks)), key=lambda number: plan.ranks[number].total)
    return {
        f"most: rank {order[-1]}": plan.ranks[order[-1]],
        f"least: rank {order[0]}": plan.ranks[order[0]],
    }


def _advice(plan: Plan) -> list[str]:
    if plan.fits:
        return []
    if not plan.changes:
        return ["No change of the settings was found that needs less memory."]
    if not any(change.fits for change in plan.changes):
        (least,) = plan.changes
        return [f"Nothing that was tried fits; the least is {_told(least)}: give a rank at least that."]
    return [f"Fits with {_told(change)} on the largest rank." for change in plan.changes]


def _told(change: Change) -> str:
    return f"{change.change}, which takes {_megabytes(change.bytes)}"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"
