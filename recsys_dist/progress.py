"""The callback by which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


def say_nothing(_what: str, _done: int, _total: int) -> None:
    """A `Progress` that reports nothing."""
