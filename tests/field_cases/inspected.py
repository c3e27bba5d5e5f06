"""`inspect` and `prepare` as a user calls them, in this process, and the rows that the parser makes of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from recsys_dist.cli import main
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.preparation.parsing.input_blocks import find_blocks
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.tasks.tasks import parse_block

FIELD_CASES = Path(__file__).parents[1] / "data" / "field_cases"
HEADER = "user,item,rating,timestamp"


def command(*arguments: object) -> int:
    """The exit code of `recsys-dist` with these arguments."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def write_lines(path: Path, lines: Sequence[str], header: str = HEADER) -> Path:
    """Write a text file."""
    path.write_text("".join(f"{line}\n" for line in (header, *lines)), encoding="utf-8", newline="")
    return path


def prepared(address: str, output: Path, *arguments: object) -> Dataset:
    """The dataset that `prepare` makes on the workers at `address`."""
    assert command("prepare", *arguments, f"output={output}", f"cluster.address={address}") == 0
    return Dataset.open(str(output), verify=True)


def inspected(address: str, path: Path, folder: Path, *arguments: object) -> Dataset:
    """The dataset that `prepare` makes of a file by the settings that `inspect` proposes for it."""
    config = folder / "proposed.yaml"
    assert command("inspect", path, "--output", config) == 0
    return prepared(address, folder / "dataset", "--config", config, *arguments)


def parsed(path: Path, **settings: object) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    """Rows as (user, item, rating), and (line, reason) of those refused; columns are positions by default."""
    tree = {"columns": {"user": 0, "item": 1, "rating": 2}, "header": False, **settings, "paths": str(path)}
    config = PrepareConfig.model_validate({"input": tree, "output": "unused"})
    kept: list[tuple[object, ...]] = []
    refused: list[tuple[int, str]] = []
    for block in find_blocks(config):
        for part in parse_block(block, config):
            rows, rejects = part.rows, part.rejects
            kept += zip(rows.user.to_pylist(), rows.item.to_pylist(), rows.rating.tolist(), strict=True)
            refused += [
                (line, Reason(code).label) for line, code in zip(rejects.line, rejects.reason, strict=True)
            ]
    return kept, refused
