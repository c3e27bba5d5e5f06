"""The optional parts of the package, and how to install one where this copy comes from."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

NAME = "recsys-dist"
ROOT = Path(__file__).parents[1]
"""Of a checkout: the folder that holds pyproject.toml."""
_OF_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")


def how_to_install(extra: str) -> str:
    """The command that installs an extra: of this checkout, or else the packages of which it consists."""
    if (ROOT / "pyproject.toml").is_file():
        place = "." if Path.cwd() == ROOT else ROOT
        return f"pip install -e '{place}[{extra}]'"
    parts = requirements().get(extra)
    return "pip install " + " ".join(f"'{part}'" for part in parts or [f"{NAME}[{extra}]"])


def requirements() -> dict[str, list[str]]:
    """The packages of each extra, with their least versions; those always required are under the empty name."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return {"": table["dependencies"], **table["optional-dependencies"]}
    try:
        listed = requires(NAME) or []
    except PackageNotFoundError:
        listed = []
    found: dict[str, list[str]] = {}
    for requirement in listed:
        package, _, marker = requirement.partition(";")
        extra = _OF_EXTRA.search(marker)
        found.setdefault(extra[1] if extra else "", []).append(package.strip())
    return found
