"""What a suite is given, and what it has measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recsys_dist.errors import ConfigError

GIGABYTE, MEGABYTES = 1e9, 1e3


@dataclass(frozen=True)
class Options:
    """Folders, and settings in the place of a suite's own; None or nothing: its own."""

    work: Path
    data: Path
    """Has ml-1m/ in it."""
    generator: Path
    """make_ratings.py, which makes synthetic ratings."""
    runs: int | None = None
    sizes: tuple[float, ...] = ()
    opponents: tuple[str, ...] | None = None

    def require(self, path: Path, purpose: str, option: str) -> Path:
        """A file that a suite needs; ConfigError if it is not there."""
        if not path.exists():
            raise ConfigError(f"{path}: {purpose}, and it is not there; {option} names another place")
        return path

    def require_ml1m(self) -> Path:
        """The folder that MovieLens 1M is in."""
        for name in ("ratings.dat.gz", "movies.dat"):
            file = self.data / "ml-1m" / name
            self.require(file, "is a file of MovieLens 1M", "--data FOLDER, which has ml-1m/")
        return self.data

    def require_generator(self) -> Path:
        """make_ratings.py."""
        return self.require(self.generator, "makes the synthetic ratings", "--generator FILE")


@dataclass(frozen=True)
class Cell:
    """One figure before it has an origin; `versions` are those of other programs."""

    row: str
    column: str
    value: str
    unit: str
    versions: str = ""


@dataclass
class Measured:
    """A table."""

    title: str
    rows: str
    """The head of the first column."""
    columns: tuple[str, ...]
    cells: list[Cell] = field(default_factory=list)

    def add(self, row: str, column: str, value: str, unit: str, versions: str = "") -> None:
        """Add one figure."""
        self.cells.append(Cell(row, column, value, unit, versions))


Suite = Callable[[Options], Measured]


def significant(value: float) -> str:
    """A figure above 0 with three significant digits, without an exponent."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def repeated(runs: int) -> str:
    """How often seconds were measured."""
    return "one run" if runs == 1 else f"medians of {runs} runs"


def millions(count: int) -> str:
    """A number of ratings or items, as 2.70 million."""
    return f"{significant(count / 1e6)} million"
