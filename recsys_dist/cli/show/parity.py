"""What `verify-parity` prints: one row for each training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.training.parity import ParityRun

DIGEST_DIGITS = 16


def print_parity(runs: Sequence[ParityRun], tolerance: float) -> None:
    """Print ranks, seconds (start of the processes included), first digits of the digest, and the verdict."""
    table = Table(title="The final checkpoint by number of ranks", title_justify="left")
    for name in ("ranks", "seconds", "digest", "verdict"):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=name != "verdict")
    for number, run in enumerate(runs):
        verdict = _verdict(run, tolerance) if number else "the reference"
        table.add_row(f"{run.num_ranks}", f"{run.seconds:.1f}", run.digest[:DIGEST_DIGITS], verdict)
    new_console().print(table)


def _verdict(run: ParityRun, tolerance: float) -> str:
    if not run.differences:
        return "equal, bit for bit"
    beyond = run.beyond(tolerance)
    if beyond:
        return f"differs: {beyond[0].name}"
    largest = max((difference.relative for difference in run.of_model), default=0.0)
    return f"equal up to {largest:.2g}"
