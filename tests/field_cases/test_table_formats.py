"""Tables whose log says which of their files count are refused by name, however they are come upon."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.settings.input import FileSettings
from tests.field_cases.reading import CASES, configure, read, sniffed
from tests.support.inspect_command import inspect

LOGS = {
    "a Delta table": ("_delta_log/00000000000000000000.json", "part-0.parquet"),
    "an Iceberg table": ("metadata/00001-9c.metadata.json", "data/part-0.parquet"),
    "a Hudi table": (".hoodie/hoodie.properties", "2020/01/part-0.parquet"),
    "a Paimon table": ("snapshot/snapshot-1", "bucket-0/data-0.parquet"),
}
"""By format a file of its log and one of its data."""


def write_parquet(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user": ["u"], "item": ["i"], "rating": [3.0]}), path)


def write_table(folder: Path, log: str, data: str) -> None:
    (folder / log).parent.mkdir(parents=True)
    (folder / log).write_text("{}")
    write_parquet(folder / data)


def refusal(pattern: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        find_files("input.paths", [str(pattern)], FileSettings())
    told = str(caught.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize("name", LOGS)
def test_a_table_is_refused_wherever_it_is_named(tmp_path, name):
    log, data = LOGS[name]
    table = tmp_path / "all" / "table"
    write_table(table, log, data)
    says = f"{table} is {name}: only its log lists its current files; export it as plain Parquet or CSV, "
    assert refusal(table).startswith(f"input.paths: {says}")
    assert refusal(f"{table}/").startswith(f"input.paths: {says}")
    assert refusal(tmp_path).startswith(f"input.paths: {says}")
    inside = f"{table}, which is {name}: only its log lists"
    file = table / data
    # A file beside the log is refused as the table that it belongs to.
    lies = says if file.parent == table else f"{file} is in {inside}"
    assert refusal(file).startswith(f"input.paths: {lies}")
    for pattern in (file, file.parent, f"{file.parent}/*.parquet", f"{tmp_path}/all/**/*.parquet"):
        assert f"{table}" in refusal(pattern)
        assert name in refusal(pattern)
        assert "export it as plain Parquet or CSV" in refusal(pattern)


def test_partitions_of_a_table_belong_to_it(tmp_path):
    write_table(tmp_path / "t", LOGS["a Delta table"][0], "year=2020/month=1/part-0.parquet")
    for pattern in ("t/year=2020", "t/year=2020/month=1/part-0.parquet", "t/*/*/*.parquet"):
        told = refusal(tmp_path / pattern)
        assert " is in " in told
        assert f"{tmp_path}/t, which is a Delta table" in told


def test_a_path_from_within_the_table(tmp_path, monkeypatch):
    write_table(tmp_path / "t", *LOGS["a Delta table"])
    monkeypatch.chdir(tmp_path / "t")
    assert "is a Delta table" in refusal("part-0.parquet")
    assert "is a Delta table" in refusal(".")


def test_links_into_a_table(tmp_path):
    write_table(tmp_path / "t", LOGS["a Delta table"][0], "year=2020/part-0.parquet")
    (tmp_path / "part.parquet").symlink_to(tmp_path / "t/year=2020/part-0.parquet")
    (tmp_path / "y").symlink_to(tmp_path / "t/year=2020")
    (tmp_path / "table").symlink_to(tmp_path / "t")
    for pattern in ("part.parquet", "*.parquet", "y", "y/part-0.parquet", "table"):
        assert "is a Delta table" in refusal(tmp_path / pattern)


@pytest.mark.parametrize("name", LOGS)
def test_a_table_behind_a_url(name):
    fs = fsspec.filesystem("memory")
    log, data = LOGS[name]
    fs.pipe({f"/bucket/all/t/{log}": b"{}", f"/bucket/all/t/{data}": b"PAR1"})
    try:
        for pattern in ("memory://bucket/all/t", "memory://bucket/all", f"memory://bucket/all/t/{data}"):
            assert "memory://bucket/all/t" in refusal(pattern).replace("memory:///", "memory://")
            assert name in refusal(pattern)
    finally:
        fs.rm("/bucket", recursive=True)


def test_the_field_case(capsys):
    told = refusal(CASES / "delta")
    assert "is a Delta table" in told
    assert f"COPY (SELECT * FROM delta_scan('{CASES / 'delta'}')) TO 'ratings.parquet'" in told
    assert inspect(CASES / "delta") == 2
    error = capsys.readouterr().err
    assert "is a Delta table" in error
    assert error.count("\n") == 1


def test_an_exported_copy_and_files_beside_a_table_are_read(tmp_path):
    shutil.copytree(CASES / "delta", tmp_path / "lake" / "delta")
    write_parquet(tmp_path / "lake" / "plain" / "a.parquet")
    (tmp_path / "lake" / "delta" / "notes.csv").write_text("user,item,rating\nv,j,4\n")
    assert read(configure(tmp_path / "lake" / "plain"))[0] == [("u", "i", 3.0)]
    assert read(configure(tmp_path / "lake" / "plain" / "*.parquet"))[0] == [("u", "i", 3.0)]
    # A file of text is no part of such a table.
    assert read(configure(tmp_path / "lake" / "delta" / "notes.csv"))[0] == [("v", "j", 4.0)]


@pytest.mark.parametrize("name", ["metadata/about.json", "snapshot/a.csv", "metadata.json"])
def test_folders_of_such_names_alone_make_no_table(tmp_path, name):
    write_parquet(tmp_path / "d" / "a.parquet")
    (tmp_path / "d" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "d" / name).write_text("{}")
    assert len(find_files("input.paths", [str(tmp_path / "d" / "*.parquet")], FileSettings())) == 1
    assert len(find_files("input.paths", [str(tmp_path / "d")], FileSettings())) == 2


def test_titles_in_a_table_are_refused_too(tmp_path):
    write_table(tmp_path / "t", *LOGS["a Delta table"])
    with pytest.raises(DataError, match=r"^items\.paths: .* is a Delta table"):
        find_files("items.paths", [str(tmp_path / "t")], FileSettings())


def test_inspect_of_a_plain_folder_of_parquet_proposes_it(tmp_path):
    for number in range(3):
        path = tmp_path / f"part-{number}.parquet"
        users = [f"u{n}" for n in range(30)]
        pq.write_table(pa.table({"user": users, "item": users, "rating": [n % 5 for n in range(30)]}), path)
    assert sniffed(tmp_path).tree["paths"] == str(tmp_path)


@pytest.mark.parametrize("name", ["snapshot/snapshot-2024-01.csv", "metadata/ratings.metadata.json.csv"])
def test_folders_named_as_those_of_a_table_are_read(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text("user,item,rating\n1,2,3\n2,3,4\n")
    assert len(sniffed(tmp_path).columns) == 3
