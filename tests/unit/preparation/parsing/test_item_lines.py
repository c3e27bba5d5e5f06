"""Files in which lines name the items: every row under its item, however the file is cut, or refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES
from recsys_dist.preparation.parsing import item_lines
from recsys_dist.preparation.parsing.input_blocks import continued_blocks, find_blocks, place_items
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.tasks.tasks import find_last, parse_block


def read(paths: list[Path], block_bytes: int = 1 << 20, separator: str = ",") -> list[tuple[object, ...]]:
    """(line, user, item, rating) of accepted rows and (line, reason) of others, in order."""
    tree = {
        "input": {
            "paths": [str(path) for path in paths],
            "layout": "netflix",
            "header": False,
            "quote": None,
            "separator": separator,
            "columns": {"user": 0, "rating": 1},
        },
        "output": "out",
    }
    config = PrepareConfig.model_validate(tree)
    # Smaller blocks than settings allow, so that names lie many blocks above their rows.
    config = config.model_copy(update={"input": config.input.model_copy(update={"block_bytes": block_bytes})})
    blocks = find_blocks(config)
    found = {block.number: find_last(block) for block in continued_blocks(blocks)}
    seen: list[tuple[object, ...]] = []
    first_line = {str(path): 0 for path in paths}
    for block in place_items(blocks, found):
        for parsed in parse_block(block, config):
            start, rows = first_line[block.file.name], parsed.rows
            columns = (rows.line + start, rows.user.to_pylist(), rows.item.to_pylist(), rows.rating.tolist())
            here: list[tuple[Any, ...]] = list(zip(*columns, strict=True))
            here += [
                (line + start, Reason(code).label)
                for line, code in zip(parsed.rejects.line, parsed.rejects.reason, strict=True)
            ]
            seen += sorted(here)
            first_line[block.file.name] += parsed.num_lines
    return seen


def reference(text: str) -> list[tuple[object, ...]]:
    """One line after the other."""
    item: str | None = None
    seen: list[tuple[object, ...]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split(",")
        if not line:
            continue
        if len(fields) == 1 and line.endswith(":"):
            item = line[:-1]
        elif len(fields) == 1 or len(line) > MAX_LINE_BYTES:
            item = None
            reason = Reason.FIELD_COUNT if len(line) <= MAX_LINE_BYTES else Reason.LINE_LENGTH
            seen.append((number, reason.label))
        elif item is None:
            seen.append((number, Reason.ITEM_LINE.label))
        elif len(fields) != 2:
            seen.append((number, Reason.FIELD_COUNT.label))
        elif not item:
            seen.append((number, Reason.EMPTY_ITEM.label))
        else:
            seen.append((number, fields[0], item, float(fields[1])))
    return seen


LINES = ["1:", "01:", "1:", "u,3", "v,4", "u,1", "w,2.5", "x,1,2", "", ":", "12", "12 :", "y" * 150 + ",5"]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.sampled_from(LINES), max_size=20),
    block_bytes=st.sampled_from([3, 10, 50, 200]),
    scan_bytes=st.integers(1, 50),
    is_packed=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_rows_belong_to_the_item_above_them(
    tmp_path_factory, lines, block_bytes, scan_bytes, is_packed, line_end
) -> None:
    rows = ["1:", *["u,3"] * 21, *lines]
    data = line_end.join(rows).encode()
    path = tmp_path_factory.mktemp("netflix") / ("data.txt.gz" if is_packed else "data.txt")
    path.write_bytes(gzip.compress(data) if is_packed else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_lines, "SCAN_BYTES", scan_bytes)
        assert read([path], block_bytes) == reference("\n".join(rows))


@pytest.mark.parametrize("block_bytes", [1000, MAX_LINE_BYTES, 1 << 20])
def test_a_line_that_may_hide_a_name_makes_the_rows_below_it_unknown(tmp_path, block_bytes):
    path = tmp_path / "data.txt"
    overlong = "u,3" + "9" * 2 * MAX_LINE_BYTES + "\n"
    path.write_bytes(
        ("\ufeff1:\nu,3\n" + overlong + "v,3\n2:\nu,4\n").encode() + b"w,1\0\nx,2\n3:\ry,1\nz,1\n4:\na,5\n"
    )
    assert read([path], block_bytes) == [
        (2, "u", "1", 3.0),
        (3, "line too long"),
        (4, "no usable item line above"),
        (6, "u", "2", 4.0),
        (7, "NUL byte"),
        (8, "no usable item line above"),
        (9, "carriage return inside a line"),
        (10, "no usable item line above"),
        (12, "a", "4", 5.0),
    ]


def test_a_name_counts_for_its_own_file_alone(tmp_path):
    first, second = tmp_path / "1.txt", tmp_path / "2.txt"
    first.write_text("1:\nu,3\n")
    second.write_text("u,4\n2:\nv,5\n")
    expected = [(2, "u", "1", 3.0), (1, "no usable item line above"), (3, "v", "2", 5.0)]
    assert read([first, second]) == expected
    assert read([second, first], block_bytes=2) == expected


def test_names_beside_a_separator_of_several_signs(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("tt:1:\nu::3\nv,w::4\nß:\nu::5\n")
    assert read([path], separator="::") == [
        (2, "u", "tt:1", 3.0),
        (3, "v,w", "tt:1", 4.0),
        (5, "u", "ß", 5.0),
    ]


def test_a_parquet_file_among_them_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.parquet is Parquet, but layout: netflix is for text"):
        read([tmp_path / "a.parquet"])
