"""Notebooks as pages of the site: markdown, and the pictures that it shows.

Texts stay as they are, code becomes a block, and an output becomes a picture, a table or a block of text.
"""

from __future__ import annotations

import base64
import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = REPOSITORY / "examples" / "notebooks"
FOLDER = "notebooks"
"""Of the pages, within the site."""
SOURCE = "https://github.com/recsys-dist/recsys_dist/blob/main"
TO_DOCS = re.compile(r"\]\(\.\./\.\./docs/")
TO_NOTEBOOK = re.compile(r"\]\(([\w-]+)\.ipynb\)")
TO_EXAMPLE = re.compile(r"\]\(\.\./")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
STYLE = re.compile(r"<style.*?</style>\s*", re.DOTALL)
TABLE = re.compile(r"<table[^>]*>")
Content = dict[str, str | bytes]


def notebook_pages() -> Content:
    """Name within the site -> content, of all pages and their pictures."""
    pages: Content = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        pages |= page_of(path.stem, json.loads(path.read_text(encoding="utf-8")))
    return pages


def page_of(name: str, notebook: dict[str, Any]) -> Content:
    """The page of one notebook and its pictures."""
    page = _Page(name)
    for cell in notebook["cells"]:
        page.add(cell)
    return page.content()


class _Page:
    def __init__(self, name: str) -> None:
        self._name, self._heading = name, name
        self._parts: list[str] = []
        self._pictures: dict[str, bytes] = {}

    def add(self, cell: dict[str, Any]) -> None:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            self._heading = (HEADING.findall(text) or [self._heading])[-1]
            self._parts.append(f"{with_links_of_the_site(text)}\n")
            return
        self._parts.append(_block(text, "python"))
        for is_text, outputs in groupby(cell["outputs"], key=_is_text):
            if is_text:
                self._parts.append(_block("".join(map(_text, outputs)), "text"))
            else:
                self._parts += [self._shown(output["data"]) for output in outputs]

    def content(self) -> Content:
        """The page by its name, and its pictures by theirs."""
        file = f"{SOURCE}/examples/notebooks/{self._name}.ipynb"
        source = f"---\n\n[This page as a notebook]({file}). In a checkout: `jupyter lab examples/notebooks`.\n"
        return {f"{FOLDER}/{self._name}.md": "\n".join([*self._parts, source]), **self._pictures}

    def _shown(self, data: dict[str, Any]) -> str:
        """A picture or a table."""
        if "image/png" not in data:
            return TABLE.sub("<table>", STYLE.sub("", "".join(data["text/html"]))) + "\n"
        file = f"{self._name}-{len(self._pictures) + 1}.png"
        self._pictures[f"{FOLDER}/{file}"] = base64.b64decode("".join(data["image/png"]))
        return f"![{self._heading}: figure]({file})\n"


def _is_text(output: dict[str, Any]) -> bool:
    """Whether an output is text; a console in a notebook also writes its text as HTML."""
    data = output.get("data", {})
    return "image/png" not in data and "<table" not in "".join(data.get("text/html", ""))


def _text(output: dict[str, Any]) -> str:
    text = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
    return f"{text.rstrip()}\n"


def _block(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def with_links_of_the_site(text: str) -> str:
    """Links from a notebook in examples/notebooks, as links from its page."""
    text = TO_NOTEBOOK.sub(r"](\1.md)", TO_DOCS.sub("](@docs/", text))
    return TO_EXAMPLE.sub(f"]({SOURCE}/examples/", text).replace("](@docs/", "](../")
