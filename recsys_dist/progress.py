"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what, done, in all)."""


def say_nothing(_what: str, _done: int, _total: int) -> None:
    """A `Progress` for those who do not listen."""
