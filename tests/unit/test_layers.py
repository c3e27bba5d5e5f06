"""What the layers of import-linter do not see: families told apart by name, overfull folders, files and functions,
and text that names files which are not there.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import recsys_dist

PACKAGE = Path(recsys_dist.__file__).parent
REPOSITORY = PACKAGE.parent
FAMILIES = {"mf", "autorec", "ease", "ials"}
MOST_MODULES = 16
MOST_LINES = 350
MOST_LINES_OF_A_FUNCTION = 60


def modules() -> list[tuple[str, str]]:
    """Path below the package, and source."""
    return [(path.relative_to(PACKAGE).as_posix(), path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))]


def classes_of_families(tree: ast.Module) -> set[str]:
    """Names that a module imports from families/."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recsys_dist.families")
        for alias in node.names
    }


def names_in(node: ast.AST) -> set[str]:
    """Every name that stands in an expression, also behind a dot."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def told_apart(source: str) -> Iterator[str]:
    """Comparisons with the name of a family, and tests for a class of families/."""
    tree = ast.parse(source)
    classes = classes_of_families(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Compare() | ast.MatchValue():
                constants = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                if constants & FAMILIES:
                    yield ast.unparse(node)
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
                if names_in(kinds) & classes:
                    yield ast.unparse(node)
            case ast.MatchClass() if names_in(node.cls) & classes:
                yield f"case {ast.unparse(node)}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("kind == 'mf'", ["kind == 'mf'"]),
        ("'autorec' != one.kind", ["'autorec' != one.kind"]),
        ("kind in {'mf', 'autorec'}", ["kind in {'mf', 'autorec'}"]),
        ("kind == 'time'", []),
        ("from recsys_dist.families.mf.settings import MfSettings\nisinstance(a, MfSettings)", ["MfSettings"]),
        ("from recsys_dist.families.mf import settings\nisinstance(a, (int, settings.Mf))", ["settings.Mf"]),
        ("from recsys_dist.config import Settings\nisinstance(a, Settings)", []),
        ("from recsys_dist.families.mf import Mf\nmatch a:\n  case Mf():\n    pass", ["case Mf()"]),
        ("match kind:\n  case 'mf':\n    pass", ["'mf'"]),
    ],
)
def test_what_tells_families_apart_is_seen(source: str, found: list[str]) -> None:
    seen = list(told_apart(source))
    assert len(seen) == len(found)
    assert all(part in whole for part, whole in zip(found, seen, strict=True))


def test_no_code_outside_families_tells_them_apart() -> None:
    others = [(path, source) for path, source in modules() if not path.startswith("families/")]
    found = {(path, place) for path, source in others for place in told_apart(source)}
    assert found == set()


def test_no_folder_is_overfull() -> None:
    folders = [path.parent for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    overfull = {str(folder): folders.count(folder) for folder in folders if folders.count(folder) > MOST_MODULES}
    assert overfull == {}


def test_no_file_is_overlong() -> None:
    assert {path for path, source in modules() if source.count("\n") > MOST_LINES} == set()


def test_no_function_is_overlong() -> None:
    functions = (
        (path, node)
        for path, source in modules()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    found = {
        (path, node.name)
        for path, node in functions
        if (node.end_lineno or node.lineno) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert found == set()


def texts(source: str) -> Iterator[str]:
    """Docstrings, those of fields too, and comments."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def named_files(source: str) -> set[str]:
    """Paths in docstrings and comments; one in capitals, as in launch/COMMAND.py, stands for several."""
    found = {path for text in texts(source) for path in re.findall(r"[\w/]*\w\.py\b", text)}
    return {path for path in found if not Path(path).stem.isupper()}


def test_files_are_named_in_docstrings_and_comments_alone() -> None:
    source = '"""See a/b.py, launch/COMMAND.py."""\nx = "c.py"  # as in d.py\ny = 1\n"""By e.py."""\n'
    assert named_files(source) == {"a/b.py", "d.py", "e.py"}


def test_every_file_that_text_names_is_there() -> None:
    """In the folder of the file that names it, or by its path below the package or the repository."""
    missing = [
        f"{path} names {name}"
        for path, source in modules()
        for name in sorted(named_files(source))
        if not any((folder / name).is_file() for folder in (PACKAGE / Path(path).parent, PACKAGE, REPOSITORY))
    ]
    assert missing == []
