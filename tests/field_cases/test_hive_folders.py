"""Folders named KEY=VALUE on the path of a file are columns, as strict as those in the file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation.inspection.proposal import to_yaml
from recsys_dist.preparation.parsing.input_blocks import find_blocks
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.tasks.tasks import parse_block
from tests.field_cases.reading import configure, read, sniffed, timestamps

BY_FOLDER = {"user": "who", "item": "item", "rating": "rating"}


def write(folder: Path, kind: str, name: str, **columns: Any) -> None:
    """A file of two rows, or of the columns given."""
    columns = columns or {"item": ["i", "j"], "rating": [3.0, 4.0]}
    path = folder / f"{name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.table(columns), path)
        return
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")


@pytest.fixture(params=["csv", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_key_is_a_column_by_name(tmp_path, kind):
    write(tmp_path, kind, "who=u1/part-0")
    write(tmp_path, kind, "who=u2/part-0")
    expected = [("u1", "i", 3.0), ("u1", "j", 4.0), ("u2", "i", 3.0), ("u2", "j", 4.0)]
    for pattern in (
        tmp_path,
        f"{tmp_path}/*/*.{kind}",
        [f"{tmp_path}/who=u1", f"{tmp_path}/who=u2/part-0.{kind}"],
    ):
        assert read(configure(pattern, BY_FOLDER)) == (expected, [])


@pytest.mark.parametrize(
    ("folder", "value"),
    [
        ("who=caf%C3%A9", "caf\u00e9"),
        ("who=caf\u00e9", "caf\u00e9"),
        ("who=a%2Fb%3Dc", "a/b=c"),
        ("who=a=b", "a=b"),
        ("who=100%", "100%"),
        ("who=a+b c", "a+b c"),
        ("who=007", "007"),
        ("wh%6F=u", "u"),
        ("who=outer/who=inner", "inner"),
        ("x=1/who=u/y=2", "u"),
    ],
)
def test_keys_and_values_are_decoded(tmp_path, kind, folder, value):
    write(tmp_path, kind, f"{folder}/part-0")
    assert read(configure(tmp_path, BY_FOLDER)) == ([(value, "i", 3.0), (value, "j", 4.0)], [])


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("who=__HIVE_DEFAULT_PARTITION__", "empty user id"),
        ("who=", "empty user id"),
        ("who=caf%E9", "not valid in the encoding"),
        ("who=a%00b", "NUL byte"),
        ("who=a%0Db", "carriage return inside a line"),
        ("who=a%0Ab", "line feed inside a field"),
    ],
)
def test_a_value_that_no_field_could_hold_sets_its_rows_aside(tmp_path, kind, folder, reason):
    write(tmp_path, kind, f"{folder}/part-0")
    write(tmp_path, kind, "who=z/part-0")
    first = 2 if kind == "csv" else 1
    rows, rejects = read(configure(tmp_path, BY_FOLDER))
    assert rows == [("z", "i", 3.0), ("z", "j", 4.0)]
    assert rejects == [(first, reason), (first + 1, reason)]


def test_a_detour_through_another_folder_tells_nothing(tmp_path, monkeypatch, kind):
    write(tmp_path, kind, "who=u/part-0")
    (tmp_path / "who=v").mkdir()
    monkeypatch.chdir(tmp_path)
    assert {row[0] for row in read(configure(f"who=v/../who=u/part-0.{kind}", BY_FOLDER))[0]} == {"u"}
    write(tmp_path, kind, "x/part-0")
    with pytest.raises(DataError, match="has no column 'who'"):
        read(configure(f"who=v/../x/part-0.{kind}", BY_FOLDER))


def test_other_fields_by_folder(tmp_path, kind):
    write(tmp_path, kind, "day=2005-09-06/item=i1/stars=4.5/part-0", user=["u", "v"])
    write(tmp_path, kind, "day=2005-02-30/item=i1/stars=x/part-0", user=["w", "x"])
    columns = {"user": "user", "item": "item", "rating": "stars", "timestamp": "day"}
    config = configure(tmp_path, columns, timestamp_format="iso")
    rows, rejects = read(config)
    assert rows == [("u", "i1", 4.5), ("v", "i1", 4.5)]
    assert [reason for _, reason in rejects] == ["rating is not a finite number"] * 2
    parsed = [part for block in find_blocks(config) for part in parse_block(block, config)]
    assert [time for part in parsed for time in timestamps(part)] == [1_125_964_800] * 2


def test_a_column_in_the_file_comes_before_the_folder(tmp_path, kind):
    write(tmp_path, kind, "who=folder/part-0", who=["file"], item=["i"], rating=[3.0])
    write(tmp_path, kind, "who=folder/part-1")
    rows, _ = read(configure(tmp_path, BY_FOLDER))
    assert [user for user, _, _ in rows] == ["file", "folder", "folder"]


def test_positions_are_those_in_the_file(tmp_path):
    path = tmp_path / "who=u" / "a.csv"
    path.parent.mkdir()
    path.write_text("i,3\nj,4\n")
    config = configure(tmp_path, {"user": "who", "item": 0, "rating": 1}, header=False)
    assert read(config) == ([("u", "i", 3.0), ("u", "j", 4.0)], [])
    with pytest.raises(
        DataError, match=r"columns\.user is 'whom', but header: false .* the path of .* has no folder whom="
    ):
        read(configure(tmp_path, {"user": "whom", "item": 0, "rating": 1}, header=False))
    with pytest.raises(DataError, match=r"columns\.user is position 2 from 0"):
        read(configure(tmp_path, {"user": 2, "item": 0, "rating": 1}, header=False))
    tree = {"input": {"paths": "a", "header": False, "columns": BY_FOLDER}, "output": "out"}
    with pytest.raises(ConfigError, match="header: false needs positions"):
        parse_settings(PrepareConfig, tree, source="a.yaml")


def test_positions_in_parquet_are_those_in_the_file(tmp_path):
    write(tmp_path, "parquet", "who=u/part-0")
    assert read(configure(tmp_path, {"user": "who", "item": 0, "rating": 1}, format="parquet", header=False))[
        0
    ] == [
        ("u", "i", 3.0),
        ("u", "j", 4.0),
    ]


def test_a_missing_column_is_told_with_the_keys(tmp_path, kind):
    write(tmp_path, kind, "year=2020/part-0")
    with pytest.raises(DataError, match=r"columns\.user: .* has no column 'who'; .*: item, rating, year$"):
        read(configure(tmp_path, BY_FOLDER))


def test_folders_within_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("who=u1/a.csv", "item,rating\ni,3\n")
        archive.writestr("who=u2/a.csv", "item,rating\nj,4\n")
    assert read(configure(tmp_path / "all.zip", BY_FOLDER))[0] == [("u1", "i", 3.0), ("u2", "j", 4.0)]


def test_folders_of_a_url():
    fs = fsspec.filesystem("memory")
    fs.pipe({"/hive/who=u1/a.csv": b"item,rating\ni,3\n", "/hive/who=u2/a.csv": b"item,rating\nj,4\n"})
    try:
        assert read(configure("memory://hive", BY_FOLDER))[0] == [("u1", "i", 3.0), ("u2", "j", 4.0)]
    finally:
        fs.rm("/hive", recursive=True)


def test_lines_that_name_items_under_a_folder_of_the_user(tmp_path):
    path = tmp_path / "who=u" / "a.txt"
    path.parent.mkdir()
    path.write_text("7:\n3,x\n4,y\n8:\n5,z\n")
    columns = {"user": "who", "rating": 0}
    config = configure(tmp_path, columns, header=False, layout="netflix", quote=None)
    assert read(config)[0] == [("u", "7", 3.0), ("u", "7", 4.0), ("u", "8", 5.0)]


def test_inspect_offers_the_keys_with_the_values_of_all_files(tmp_path, kind):
    rows: dict[str, Any] = {"item": [f"i{n}" for n in range(40)], "rating": [n % 5 + 0.5 for n in range(40)]}
    for folder in (f"user={user}/year={year}" for user in ("u1", "u2", "u3") for year in (2019, 2020)):
        write(tmp_path, kind, f"{folder}/part-0", **rows)
    found = sniffed(tmp_path)
    user, year = found.folder_columns
    assert (user.name, user.kind, user.num_distinct, user.examples) == ("user", "text", 3, ("u1", "u2", "u3"))
    assert (year.name, year.kind, year.smallest, year.largest) == ("year", "whole numbers", "2019", "2020")
    assert found.tree["columns"] == {"user": "user", "item": "item", "rating": "rating"}
    assert (found.tree["paths"], found.remarks) == (str(tmp_path), ())
    config = parse_settings(PrepareConfig, {**yaml.safe_load(to_yaml(found)), "output": "o"}, source="proposed")
    read_rows, rejects = read(config)
    assert (len(read_rows), rejects) == (240, [])
    assert {row[0] for row in read_rows} == {"u1", "u2", "u3"}


def test_inspect_of_lines_without_a_header_under_folders(tmp_path):
    for user in ("u1", "u2"):
        (tmp_path / f"user={user}").mkdir()
        lines = "".join(f"i{n},{n % 5 + 0.5}\n" for n in range(40))
        (tmp_path / f"user={user}" / "part-0.csv").write_text(lines)
    found = sniffed(tmp_path)
    assert (found.tree["header"], found.tree["columns"]) == (False, {"user": "user", "item": 0, "rating": 1})
    config = parse_settings(PrepareConfig, {**yaml.safe_load(to_yaml(found)), "output": "o"}, source="proposed")
    assert [len(part) for part in read(config)] == [80, 0]


def test_a_name_in_the_file_tells_more_than_that_of_a_folder(tmp_path, kind):
    names = [f"u{n % 7}" for n in range(40)]
    rows = {
        "reviewer": names,
        "item": names,
        "stars": [n % 5 + 0.5 for n in range(40)],
        "created": [1_500_000_000] * 40,
    }
    write(tmp_path, kind, "date=2020-01-01/user=x/rating=3/part-0", **rows)
    found = sniffed(tmp_path)
    assert found.tree["columns"] == {"user": "reviewer", "item": "item", "rating": "stars", "timestamp": "created"}
    assert [column.name for column in found.folder_columns] == ["date", "user", "rating"]


def test_inspect_shows_a_key_without_a_role_and_names_it_where_one_is_missing(tmp_path, kind):
    write(tmp_path, kind, "bucket=3/part-0", item=[f"i{n}" for n in range(40)], rating=[n / 8 for n in range(40)])
    found = sniffed(tmp_path)
    assert found.missing == ("user",)
    assert '# user: choose one of "bucket"' in to_yaml(found)


def test_the_times_of_a_file_tell_more_than_the_date_of_its_folder(tmp_path):
    folder = tmp_path / "date=2020-01-05"
    folder.mkdir()
    (folder / "r.csv").write_text("1,10,5,1126051300\n1,10,1,1126051200\n2,10,3,1126051201\n2,11,4,1126051202\n")
    assert sniffed(tmp_path).tree["columns"]["timestamp"] == 3
