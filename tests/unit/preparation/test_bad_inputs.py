"""The corpus of bad files: from each exactly its rows and its rejects, or one line that names the file."""

from __future__ import annotations

import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.acceptance import require_rows
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.parsing.input_blocks import continued_blocks, find_blocks, place_items
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.runs import RunInfo, write_run
from recsys_dist.preparation.shards.user_rows import Run
from recsys_dist.preparation.tasks.tasks import find_last, parse_block
from tests.data.bad_inputs.make_files import CASES, FOLDER, Case

BY_NAME = {"user": "user", "item": "item", "rating": "rating"}
ROOT = FOLDER.parents[2]
TINY_BLOCK_BYTES = 7


def configure(case: Case, block_bytes: int | None) -> PrepareConfig:
    tree = {
        "input": {"paths": str(FOLDER.relative_to(ROOT) / case.name), "columns": BY_NAME, **case.input},
        "ratings": {"min": 0.5, "max": 5, **case.ratings},
        "output": "out",
    }
    config = PrepareConfig.model_validate(tree)
    if block_bytes is None:
        return config
    # Smaller than the settings allow.
    return config.model_copy(update={"input": config.input.model_copy(update={"block_bytes": block_bytes})})


def read(config: PrepareConfig, scratch: Scratch) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    """Rows and rejects as in a `Case`, by the steps of a preparation up to where rows of several blocks meet."""
    blocks = find_blocks(config)
    found = {block.number: find_last(block) for block in continued_blocks(blocks)}
    infos: list[RunInfo] = []
    runs: list[Run] = []
    rows: list[tuple[object, ...]] = []
    rejects: list[tuple[int, str]] = []
    first_line = 1
    for block in place_items(blocks, found):
        for parsed in parse_block(block, config):
            infos.append(write_run(scratch, f"run-{len(runs)}", parsed))
            runs.append(Run(f"run-{len(runs)}", block.file.name, first_line, 0))
            here = parsed.rows
            columns = [
                here.line + first_line - 1,
                here.user.to_pylist(),
                here.item.to_pylist(),
                here.rating.tolist(),
            ]
            columns += [here.timestamp.tolist()] if here.timestamp is not None else []
            rows += zip(*columns, strict=True)
            reasons = [Reason(code).label for code in parsed.rejects.reason]
            rejects += zip((parsed.rejects.line + first_line - 1).tolist(), reasons, strict=True)
            first_line += parsed.num_lines
    require_rows(infos, runs, config)
    assert sum(info.num_read for info in infos) == len(rows) + len(rejects)
    return rows, rejects


def test_the_files_are_those_of_the_script():
    on_disk = {
        path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file() and path.suffix != ".py"
    }
    assert on_disk == {case.name: case.content for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_file_gives_exactly_its_rows_or_one_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block_bytes in (None,) if case.is_large else (None, TINY_BLOCK_BYTES):
        config = configure(case, block_bytes)
        if case.error is None:
            assert read(config, Scratch(str(tmp_path))) == (list(case.rows), list(case.rejects))
            continue
        with pytest.raises(DataError) as caught:
            read(config, Scratch(str(tmp_path)))
        told, expected = str(caught.value), case.error.replace("FILE", f"tests/data/bad_inputs/{case.name}")
        beginning = expected.removesuffix("...")
        assert told.startswith(beginning) if expected.endswith("...") else told == expected
        assert "\n" not in told
