"""What stands in README.md and docs/: blocks of code, commands, names of files and keys, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.job_commands import REPOSITORY

FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        return self.text.splitlines()[0]

    @property
    def lines(self) -> list[str]:
        """The lines of a block of sh; those that end in a backslash continue."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if shlex.split(line, comments=True)]

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a block of sh, each as its words."""
        return [shlex.split(line, comments=True) for line in self.lines]


def page_paths() -> list[Path]:
    """README.md, then the pages in the order of the navigation."""
    tree = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), yaml.BaseLoader)
    pages = [REPOSITORY / "docs" / name for name in _named(tree["nav"])]
    return [REPOSITORY / "README.md", *(page for page in pages if page.is_file())]


def _named(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list | dict):
        for child in node if isinstance(node, list) else node.values():
            yield from _named(child)


def blocks() -> list[Block]:
    """All fenced blocks, in the order of the pages."""
    return [block for path in page_paths() for block in _blocks(path)]


def _blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start(1)) + 1
        yield Block(str(path.relative_to(REPOSITORY)), line, found[1], found[2])


def prose(path: Path) -> str:
    """A page without its blocks of code and comments."""
    return COMMENT.sub("", FENCE.sub("", path.read_text(encoding="utf-8")))


def code_spans(path: Path) -> list[str]:
    """All code within sentences and tables."""
    return CODE.findall(prose(path))


def links(path: Path) -> list[str]:
    """The targets of all links and pictures."""
    return [first or second for first, second in LINK.findall(prose(path))]
