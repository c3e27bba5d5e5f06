"""The findings of `doctor`, a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.doctor.finding import Finding, Level


def print_finding(finding: Finding) -> None:
    """Print the level and the line of one finding."""
    new_console().print(f"{finding.level:<8}{' '.join(finding.line.split())}", soft_wrap=True)


def print_summary(levels: Sequence[Level]) -> None:
    """Print how many findings there are of each level."""
    counts = Counter(levels)
    problems = f"{counts['problem']} problem{'s' * (counts['problem'] != 1)}"
    new_console().print(f"{counts['ok']} ok, {counts['note']} to note, {problems}")
