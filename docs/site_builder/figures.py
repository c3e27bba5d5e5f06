"""Measured figures: docs/figures/*.json, each the content of one table.

{"title", "rows", "columns",
 "figures": [{"row", "column", "value", "unit", "command", "commit", "date", "machine"}]}

`rows` is the head of the first column. `value` is text, as printed. `commit` is the one that was measured, or for
older figures the first one whose README states the value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
FIGURES = DOCS / "figures"


@dataclass(frozen=True)
class Figure:
    """One cell of a table, and where it comes from."""

    row: str
    column: str
    value: str
    unit: str
    command: str
    commit: str
    date: str
    machine: str

    @property
    def number(self) -> float:
        """The value as a number; of a range, its middle."""
        ends = [float(part) for part in self.value.split(" to ")]
        return sum(ends) / len(ends)


@dataclass(frozen=True)
class FigureTable:
    """A table of figures."""

    title: str
    rows: str
    columns: tuple[str, ...]
    figures: tuple[Figure, ...]

    @classmethod
    def read(cls, name: str) -> FigureTable:
        """Read docs/figures/NAME.json."""
        tree = json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))
        return cls(
            tree["title"], tree["rows"], tuple(tree["columns"]), tuple(Figure(**one) for one in tree["figures"])
        )

    def write(self, name: str) -> None:
        """Write docs/figures/NAME.json, one figure a line."""
        head = json.dumps(
            {"title": self.title, "rows": self.rows, "columns": self.columns}, ensure_ascii=False, indent=1
        )
        lines = ",\n".join(f"  {json.dumps(asdict(one), ensure_ascii=False)}" for one in self.figures)
        text = f'{head.removesuffix("}").rstrip()},\n "figures": [\n{lines}\n ]\n}}\n'
        (FIGURES / f"{name}.json").write_text(text, encoding="utf-8")

    @property
    def row_names(self) -> list[str]:
        """The rows, in their order."""
        return list(dict.fromkeys(one.row for one in self.figures))

    def cell(self, row: str, column: str) -> Figure | None:
        """The figure at a place of the table."""
        return next((one for one in self.figures if (one.row, one.column) == (row, column)), None)

    def origin(self) -> str:
        """Commands, machines, commits and dates of the figures, as a sentence of markdown."""
        commands = ", ".join(f"`{one}`" for one in _distinct(figure.command for figure in self.figures))
        machines = ", ".join(_distinct(figure.machine for figure in self.figures))
        commits = ", ".join(_distinct(f"{figure.commit} ({figure.date})" for figure in self.figures))
        return f"Command: {commands}. Machine: {machines}. Commit: {commits}."


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
