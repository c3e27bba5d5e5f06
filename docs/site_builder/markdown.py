"""Pieces of markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

CODE = re.compile(r"(`[^`]*`)")
NAMES_LIKE_CODE = re.compile(r"(?<![\w`/.-])(--[a-z][a-z-]+|[a-z]+(?:_[a-z]+)+|[A-Z]+_[A-Z_]+)(?![\w`/])")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; pipes in its cells are escaped, but for those in code, which mkdocs takes as they are."""
    lines = [tuple(heads), ("---",) * len(heads), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in CODE.split(text))


def text_of(plain: str) -> str:
    """Text of docstrings and help as markdown: names become code, signs of markdown lose their meaning."""
    return "".join(part if part.startswith("`") else _prose(part) for part in CODE.split(plain))


def _prose(text: str) -> str:
    pieces = NAMES_LIKE_CODE.split(text)
    return "".join(f"`{piece}`" if index % 2 else _escaped(piece) for index, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    return re.sub(r"([*<>\[\]_$^~])", r"\\\1", text)
