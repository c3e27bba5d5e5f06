"""What a preparation reads of given files: rows and rejects, by its own steps up to where rows of files meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys_dist.preparation.inspection.sniff import Sniffed, sniff
from recsys_dist.preparation.inspection.table_sample import ParsedSample
from recsys_dist.preparation.parsing.input_blocks import continued_blocks, find_blocks, place_items
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.parsing.rows import ParsedBlock
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.tasks.tasks import find_last, parse_block

CASES = Path(__file__).parents[1] / "data" / "field_cases"
COLUMNS = {"user": "user", "item": "item", "rating": "rating"}
HEADER = "user,item,rating\n"


def configure(paths: Path | str | list[str], columns: dict[str, Any] | None = None, **keys: Any) -> PrepareConfig:
    """The settings that read the files, by the names of their columns unless others are given."""
    named = [str(paths)] if isinstance(paths, Path | str) else paths
    tree = {"paths": named, "columns": COLUMNS if columns is None else columns, **keys}
    return PrepareConfig.model_validate({"input": tree, "output": "out"})


def read(config: PrepareConfig) -> tuple[list[tuple[str, str, float]], list[tuple[int, str]]]:
    """Rows (user, item, rating) in the order of the files, and rejects (row of the block, reason)."""
    blocks = find_blocks(config)
    found = {block.number: find_last(block) for block in continued_blocks(blocks)}
    rows: list[tuple[str, str, float]] = []
    rejects: list[tuple[int, str]] = []
    for block in place_items(blocks, found):
        for parsed in parse_block(block, config):
            here = parsed.rows
            rows += zip(here.user.to_pylist(), here.item.to_pylist(), here.rating.tolist(), strict=True)
            reasons = [Reason(code).label for code in parsed.rejects.reason]
            rejects += zip(parsed.rejects.line.tolist(), reasons, strict=True)
    return rows, rejects


def timestamps(parsed: ParsedBlock) -> list[int]:
    """Those of the rows of a block whose files have some."""
    assert parsed.rows.timestamp is not None
    return parsed.rows.timestamp.tolist()


def parsed_sample(found: Sniffed) -> ParsedSample:
    """What became of the rows of a sample that could be read."""
    assert found.parsed is not None
    return found.parsed


def sniffed(path: Path | str) -> Sniffed:
    """What `inspect` finds."""
    return sniff("input", str(path))
