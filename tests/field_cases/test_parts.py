"""Inputs of several parts: those that hold nothing are set aside and counted, and `inspect` proposes them all."""

from __future__ import annotations

import bz2
import gzip
import logging
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.parsing.titles import find_titles_files
from recsys_dist.preparation.settings.input import ItemsSettings
from tests.field_cases.reading import CASES, HEADER, configure, read, sniffed
from tests.support.inspect_command import cells, inspect

ROWS = [("u1", "a", 1.0), ("u2", "b", 2.0)]
FULL = f"{HEADER}u1,a,1\nu2,b,2\n"


def write(folder: Path, **parts: str | bytes) -> Path:
    """A folder of parts named NAME.csv, or as they say with __ for the point."""
    folder.mkdir(exist_ok=True)
    for name, content in parts.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def test_the_field_case_is_read_and_counted(caplog):
    with caplog.at_level(logging.WARNING):
        assert read(configure(CASES / "spark_csv")) == (ROWS, [])
    (record,) = caplog.records
    assert record.getMessage() == (
        f"input.paths: 1 of 3 files is empty and skipped; the first is {CASES}/spark_csv/part-00001-x-c000.csv"
    )


def test_inspect_of_the_field_case_proposes_the_folder(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    found = sniffed(CASES / "spark_csv")
    assert (found.tree["paths"], found.num_files, found.num_empty) == (str(CASES / "spark_csv"), 2, 1)
    assert found.remarks == ()
    assert inspect(CASES / "spark_csv") == 0
    assert ["empty files", "1, skipped"] in cells(capsys.readouterr().out)


EMPTY = {
    "no byte": ("b.csv", b""),
    "line ends": ("b.csv", b"\n\r\n\n"),
    "a byte order mark": ("b.csv", b"\xef\xbb\xbf"),
    "gzip of nothing": ("b.csv.gz", gzip.compress(b"")),
    "bzip2 of nothing": ("b.csv.bz2", bz2.compress(b"")),
    "gzip of a line end": ("b.csv.gz", gzip.compress(b"\n")),
    "no byte of gzip": ("b.csv.gz", b""),
    "no byte of Parquet": ("b.parquet", b""),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_what_holds_nothing_is_skipped_in_a_folder_and_by_a_glob(tmp_path, kind):
    name, content = EMPTY[kind]
    write(tmp_path, a__csv=FULL)
    (tmp_path / name).write_bytes(content)
    for pattern in (tmp_path, f"{tmp_path}/*"):
        assert read(configure(pattern)) == (ROWS, [])
        found = sniffed(pattern)
        assert (found.num_files, found.num_empty, found.tree["paths"]) == (1, 1, str(pattern))


@pytest.mark.parametrize("kind", EMPTY)
def test_a_file_named_itself_must_hold_something(tmp_path, kind):
    name, content = EMPTY[kind]
    write(tmp_path, a__csv=FULL)
    (tmp_path / name).write_bytes(content)
    for paths in ([str(tmp_path / name)], [str(tmp_path / "a.csv"), str(tmp_path / name)]):
        with pytest.raises(DataError, match=rf"{name} .*(is empty|0 bytes|truncated)"):
            read(configure(paths))


def test_a_file_named_itself_and_in_its_folder_must_hold_something(tmp_path):
    write(tmp_path, a__csv=FULL, b__csv="")
    with pytest.raises(DataError, match=r"b\.csv is empty"):
        read(configure([str(tmp_path), str(tmp_path / "b.csv")]))


def test_empty_members_of_an_archive_are_skipped(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("part-0.csv", FULL)
        archive.writestr("part-1.csv", "")
        archive.writestr("part-2.csv", HEADER)
    assert read(configure(tmp_path / "a.zip")) == (ROWS, [])
    found = sniffed(tmp_path / "a.zip")
    assert (found.num_files, found.num_empty, found.tree["paths"]) == (2, 1, f"{tmp_path}/a.zip")
    with pytest.raises(DataError, match=r"a\.zip/part-1\.csv is empty"):
        read(configure(tmp_path / "a.zip/part-1.csv"))


def test_only_empty_parts_are_one_line(tmp_path):
    write(tmp_path, a__csv="", b__csv="\n")
    for look in (lambda path: read(configure(path)), sniffed):
        with pytest.raises(DataError, match=r"^input(\.paths)?: 2 of 2 files are empty; the first is .*/a\.csv$"):
            look(tmp_path)


def test_a_part_of_a_header_alone_has_no_rows(tmp_path):
    write(tmp_path, a__csv=HEADER, b__csv=FULL, c__csv=HEADER.strip(), d__csv=f"\ufeff{HEADER}")
    assert read(configure(tmp_path)) == (ROWS, [])
    found = sniffed(tmp_path)
    assert (found.tree["paths"], found.num_files, found.remarks) == (str(tmp_path), 4, ())


def test_headers_alone_hold_no_rows(tmp_path):
    write(tmp_path, a__csv=HEADER, b__csv=HEADER)
    assert read(configure(tmp_path)) == ([], [])


def test_parts_of_parquet_without_rows(tmp_path):
    table = pa.table({"user": ["u1", "u2"], "item": ["a", "b"], "rating": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    assert read(configure(tmp_path)) == (ROWS, [])
    found = sniffed(tmp_path)
    assert (found.tree["paths"], found.num_files, found.num_empty) == (str(tmp_path), 2, 1)


def test_each_split_needs_a_part_that_holds_something(tmp_path):
    write(tmp_path / "train", a__csv=FULL)
    write(tmp_path / "test", a__csv="", b__csv="")
    config = configure(tmp_path)
    split = {"kind": "files", "train": str(tmp_path / "train"), "valid": 0.0, "test": str(tmp_path / "test")}
    tree = config.model_dump(mode="json", exclude={"input": {"paths"}}) | {"split": split}
    with pytest.raises(DataError, match=r"^split\.test: 2 of 2 files are empty"):
        read(type(config).model_validate(tree))


def test_empty_parts_of_titles_are_skipped(tmp_path):
    write(tmp_path, a__csv="id,name\n1,Heat\n", b__csv="")
    settings = ItemsSettings.model_validate({"paths": str(tmp_path), "columns": {"item": "id", "title": "name"}})
    assert [file.name for file in find_titles_files(settings)] == [f"{tmp_path}/a.csv"]


def many(header: str = HEADER, num_rows: int = 60, separator: str = ",") -> str:
    lines = (separator.join((f"u{n % 20}", f"i{n}", f"{n % 5 + 1}")) for n in range(num_rows))
    return header.replace(",", separator) + "".join(f"{line}\n" for line in lines)


def test_parts_of_other_columns_are_told_and_read_by_name(tmp_path):
    other = "rating,user,item,when\n" + "3,u,i,9\n" * 5
    write(tmp_path, a__csv=many(), b__csv=other, c__csv=other)
    found = sniffed(tmp_path)
    assert found.tree["paths"] == str(tmp_path)
    assert found.remarks == (
        f"{tmp_path}/b.csv and 1 more have different columns from {tmp_path}/a.csv: "
        "rating, user, item, when instead of user, item, rating",
    )


def test_parts_of_other_columns_in_parquet_are_told(tmp_path):
    users = [f"u{n}" for n in range(60)]
    table = pa.table({"user": users, "item": users, "rating": [n % 5 for n in range(60)]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 3).append_column("when", [[1, 2, 3]]), tmp_path / "b.parquet")
    found = sniffed(tmp_path)
    assert found.tree["paths"] == str(tmp_path)
    assert "b.parquet has different columns from" in found.remarks[0]


def test_a_part_that_lacks_a_column_is_left_out_and_told(tmp_path):
    users = [f"u{n}" for n in range(60)]
    table = pa.table({"user": users, "item": users, "rating": [n % 5 for n in range(60)]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 3).drop_columns(["item"]), tmp_path / "b.parquet")
    found = sniffed(tmp_path)
    assert found.tree["paths"] == f"{tmp_path}/a.parquet"
    assert "columns.item: " in found.remarks[0]
    assert "b.parquet has no column 'item'" in found.remarks[0]


def test_a_header_in_one_part_alone_is_told(tmp_path):
    write(tmp_path, a__csv=many(header=""), b__csv=many(num_rows=3))
    found = sniffed(tmp_path)
    assert (found.tree["paths"], found.tree["header"]) == (str(tmp_path), False)
    assert "b.csv has unusable rows at the beginning: line 1: rating is not a finite" in found.remarks[-1]


def test_a_part_without_the_header_is_left_out_and_told(tmp_path):
    write(tmp_path, a__csv=many(), b__csv=many(header="", num_rows=3))
    found = sniffed(tmp_path)
    assert (found.tree["paths"], found.tree["header"]) == (f"{tmp_path}/a.csv", True)
    assert "b.csv has no column 'user'; its header is: u0, i0, 1" in found.remarks[0]


def test_a_part_whose_rows_cannot_be_used_is_told(tmp_path):
    write(tmp_path, a__csv=many(), b__csv=HEADER + "u,i,many\nv,j,few\n")
    assert "b.csv has unusable rows at the beginning: line 2" in sniffed(tmp_path).remarks[0]


def test_of_files_that_are_no_table_the_largest_table_is_looked_at(tmp_path):
    write(tmp_path, a__csv=many(), b__json='["u", "i"]\n' * 999, c__txt="Notes.\n" * 999)
    found = sniffed(tmp_path)
    assert found.tree["paths"] == f"{tmp_path}/a.csv"
    assert "b.json is JSON arrays line by line" in found.remarks[0]


def test_where_no_file_is_a_table_the_largest_is_told(tmp_path):
    write(tmp_path, a__json='["u", "i"]\n' * 999, b__txt="Notes.\n")
    with pytest.raises(DataError, match=r"a\.json is JSON arrays"):
        sniffed(tmp_path)
