"""The page of messages: the errors that the code raises for people, by part of the program."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import recsys_dist
from docs.site_builder.markdown import table
from recsys_dist import errors

HEAD = """# Messages

This page is generated from the code: the errors that it raises with one line for people. `...` stands for a name,
a number or a reason. [Failures](../operate/failures.md) explains those that a first run may meet.

"""
PACKAGE = Path(recsys_dist.__file__).parent
CLASSES = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
GAP = "..."


def messages_page() -> str:
    """The page as markdown."""
    sections = "".join(_section(part, found) for part, found in messages().items())
    return HEAD + sections


def messages() -> dict[str, list[tuple[str, str]]]:
    """The messages of each part of the package: (class of the error, text)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for message in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(part, []).append(message)
    return found


def texts(tree: ast.AST) -> Iterator[str]:
    """All texts of a module, with gaps for what is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and (text := _text(node)):
            yield text


def _section(part: str, found: list[tuple[str, str]]) -> str:
    rows = [(f"`{text}`", kind) for kind, text in dict.fromkeys(found)]
    return f"## {part}\n\n{table(('message', 'error'), rows)}\n"


def _raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in CLASSES:
                text = " ".join(_text(first).replace("`", "'").split())
                if text.replace(GAP, "").strip(" :;"):
                    yield name, text


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return GAP
