"""The summary of an export, on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_dist.cli.show.model import pairs_table
from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.export.export import Exported


def print_exported(exported: Exported) -> None:
    """Print the target, its figures and its files."""
    table = pairs_table("Export")
    for name, value in exported.rows():
        table.add_row(name, value)
    new_console().print(table)
