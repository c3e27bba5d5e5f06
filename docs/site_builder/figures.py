"""Measured figures: docs/figures/*.json, each the content of one table.

{"title", "rows", "columns",
 "figures": [{"row", "column", "value", "unit", "command", "commit", "date", "machine", "versions"}]}

`rows` is the head of the first column. `value` is text, as printed. `commit` is the one that was measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
FIGURES = DOCS / "figures"
NUMBERS = re.compile(r"(\d*\.?\d+)(?: to (\d*\.?\d+))?")


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
    versions: str = ""
    """Of Python, of packages and of other programs; separated by commas."""

    @property
    def number(self) -> float:
        """The number that the value starts with; of a range, its middle. ValueError if it starts with none."""
        found = NUMBERS.match(self.value)
        if found is None:
            raise ValueError(f"{self.row}, {self.column}: {self.value!r} is not a number")
        ends = [float(part) for part in found.groups() if part]
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
        return cls.read_file(FIGURES / f"{name}.json")

    @classmethod
    def read_file(cls, path: Path) -> FigureTable:
        """Read a file of figures."""
        tree = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            tree["title"], tree["rows"], tuple(tree["columns"]), tuple(Figure(**one) for one in tree["figures"])
        )

    def write(self, name: str) -> None:
        """Write docs/figures/NAME.json."""
        self.write_file(FIGURES / f"{name}.json")

    def write_file(self, path: Path) -> None:
        """Write a file of figures, one figure a line."""
        head = json.dumps(
            {"title": self.title, "rows": self.rows, "columns": self.columns}, ensure_ascii=False, indent=1
        )
        lines = ",\n".join(f"  {json.dumps(_filled(one), ensure_ascii=False)}" for one in self.figures)
        text = f'{head.removesuffix("}").rstrip()},\n "figures": [\n{lines}\n ]\n}}\n'
        path.write_text(text, encoding="utf-8")

    def beside(self, older: FigureTable) -> FigureTable:
        """These figures, and those of an older table in rows and columns that are not in this one."""
        own = {(one.row, one.column) for one in self.figures}
        kept = tuple(one for one in older.figures if (one.row, one.column) not in own)
        columns = tuple(dict.fromkeys([*self.columns, *older.columns]))
        return FigureTable(self.title, self.rows, columns, (*self.figures, *kept))

    @property
    def row_names(self) -> list[str]:
        """The rows, in their order."""
        return list(dict.fromkeys(one.row for one in self.figures))

    def cell(self, row: str, column: str) -> Figure | None:
        """The figure at a place of the table."""
        return next((one for one in self.figures if (one.row, one.column) == (row, column)), None)

    def origin(self) -> str:
        """Commands, machines, commits, dates and versions of the figures, as a sentence of markdown."""
        commands = ", ".join(f"`{one}`" for one in _distinct(figure.command for figure in self.figures))
        machines = ", ".join(_distinct(figure.machine for figure in self.figures))
        commits = ", ".join(_distinct(f"{figure.commit} ({figure.date})" for figure in self.figures))
        versions = ", ".join(_distinct(part for one in self.figures for part in one.versions.split(", ") if part))
        told = f" Versions: {versions}." if versions else ""
        return f"Command: {commands}. Machine: {machines}. Commit: {commits}.{told}"


def _filled(figure: Figure) -> dict[str, str]:
    """The fields of a figure, without versions that were not recorded."""
    return {name: value for name, value in asdict(figure).items() if value or name != "versions"}


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
