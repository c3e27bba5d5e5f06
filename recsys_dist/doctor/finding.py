"""What one check found, in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]
MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line: what was examined, what it is like, and what to do about it."""

    level: Level
    """`note`: works, but something is slower or missing for some uses. `problem`: something fails."""
    subject: str
    told: str
    advice: str = ""
    """What to do; empty if nothing."""

    @property
    def line(self) -> str:
        """The finding as text."""
        return f"{self.subject}: {self.told}" + (f"; {self.advice}" if self.advice else "")


def shown_size(num_bytes: int) -> str:
    """A size in GiB or, below one, in MiB."""
    return f"{num_bytes / GIB:,.1f} GiB" if num_bytes >= GIB else f"{num_bytes / MIB:,.1f} MiB"
