"""Lists of ids from files: one a line, or the column of a table."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.errors import DataError
from recsys_dist.inference.tables import id_list
from recsys_dist.inference.tables.id_list import read_ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("7\n007\n\n i 3 \nÄ,b\n", ["7", "007", " i 3 ", "Ä,b"]),
        ("\ufeff7\r\n8\r\n", ["7", "8"]),
        ("7", ["7"]),
        ("item_id\n7\n8\n", ["7", "8"]),
        ('title,item_id\n"a, b",7\nc,"8"\n', ["7", "8"]),
        ("item_id,n\n", []),
        ("\ufeffitem_id\r\n7\r\n", ["7"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_ids_are_lines_or_a_column(tmp_path, monkeypatch, text, ids, packed):
    monkeypatch.setattr(id_list, "BLOCK_BYTES", 5)
    path = tmp_path / ("ids.csv.gz" if packed else "ids.txt")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())

    assert read_ids("--items", str(path), "item_id").to_pylist() == ids


def test_ids_in_parquet_are_those_of_the_column(tmp_path):
    pq.write_table(pa.table({"x": [1, 2], "item_id": [7, 8]}), tmp_path / "ids.parquet")

    assert read_ids("--items", str(tmp_path / "ids.parquet"), "item_id").to_pylist() == ["7", "8"]
    with pytest.raises(DataError, match=r"^--items: .* has no column 'film'; it has: x, item_id"):
        read_ids("--items", str(tmp_path / "ids.parquet"), "film")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"7\n\xff\n", r"ids\.txt line 2: not valid in the encoding: '\\\\xff'"),
        (b"7\n8\0\n", r"ids\.txt line 2: NUL byte"),
        (b"item_id,n\n7,1\n8\n", r"ids\.txt line 3: wrong number of fields: '8'"),
        (b"item_id,n\n7,1\n,2\n", r"ids\.txt line 3: item_id is empty"),
        (b"\x1f\x8b\x08", r"ids\.txt is a gzip file, whose name should end in \.gz"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, data, reason):
    (tmp_path / "ids.txt").write_bytes(data)

    with pytest.raises(DataError, match=reason):
        read_ids("--items", str(tmp_path / "ids.txt"), "item_id")
    with pytest.raises(DataError, match=r"^--exclude: there is no file"):
        read_ids("--exclude", str(tmp_path / "none.txt"), "item_id")
