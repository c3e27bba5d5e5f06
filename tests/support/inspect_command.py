"""`recsys-dist inspect` in this process, and the tables that it prints."""

from __future__ import annotations

import pytest

from recsys_dist.cli import main


def inspect(*arguments: object) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *map(str, arguments)])
    code = ended.value.code or 0
    assert isinstance(code, int), code
    return code


def cells(output: str) -> list[list[str]]:
    """The rows of all tables, cell by cell."""
    lines = (line for line in output.splitlines() if line[:1] in set("│┃"))
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]
