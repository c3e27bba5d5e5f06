"""`inspect` and `prepare` as a user calls them, in this process, and the rows that come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_dist.cli import main
from recsys_dist.data.config import PrepareConfig
from recsys_dist.data.input_blocks import find_blocks
from recsys_dist.data.tasks import parse_block

FIELD_CASES = Path(__file__).parents[1] / "data" / "field_cases"


def command(*arguments: object) -> int:
    """The exit code of `recsys-dist` with these arguments."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def write_rows(path: Path, *rows: str, header: str = "user,item,rating,timestamp") -> Path:
    """Write a text file."""
    path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")
    return path


def parsed(path: Path, **settings: object) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    """What the parser makes of one file: rows kept as (user, item, rating), and (line, reason) of the others."""
    named = {"user": "user", "item": "item", "rating": "rating"}
    tree = {"input": {"paths": str(path), "columns": named, **settings}, "output": "unused"}
    kept: list[tuple[object, ...]] = []
    refused: list[tuple[int, str]] = []
    for block in find_blocks(PrepareConfig.model_validate(tree)):
        for part in parse_block(block, PrepareConfig.model_validate(tree)):
            rows, rejects = part.rows, part.rejects
            kept += zip(rows.user.to_pylist(), rows.item.to_pylist(), rows.rating.tolist(), strict=True)
            reasons = [reject_label(code) for code in rejects.reason.tolist()]
            refused += zip(rejects.line.tolist(), reasons, strict=True)
    return kept, refused


def reject_label(code: int) -> str:
    """A reason as the manifest spells it."""
    from recsys_dist.data.rejects import Reason

    return Reason(code).label
