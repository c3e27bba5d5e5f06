"""Files that are no table of text are told by their content, whatever their names, and never read as text."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.settings.input import FileSettings
from tests.field_cases.reading import CASES, HEADER, configure, parsed_sample, read, sniffed
from tests.support.inspect_command import inspect

ROWS = (HEADER + "".join(f"u{n % 50},i{n % 30},{n % 5 + 1}\n" for n in range(500))).encode()
TABLE = pa.table({"user": ["a", "b"] * 50, "item": ["x"] * 100, "rating": [1.0, 2.0] * 50})
TAR, UNPACK, EXPORT = (
    "a tar archive, which is not read; unpack it",
    "unpack it and name the files",
    "export the table",
)


def tar(mode: Any = "w", dialect: int = tarfile.PAX_FORMAT, name: str = "ratings.csv") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode, format=dialect) as archive:
        for number in range(2):
            member = tarfile.TarInfo(f"{number}/{name}")
            member.size = len(ROWS)
            archive.addfile(member, io.BytesIO(ROWS))
    return sink.getvalue()


def packed(codec: str, data: bytes = ROWS) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def zipped(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, ROWS)
    return sink.getvalue()


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def arrow_stream() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, TABLE.schema) as stream:
        stream.write_table(TABLE)
    return sink.getvalue()


def sqlite(folder: Path) -> bytes:
    connection = sqlite3.connect(folder / "made.sqlite")
    connection.execute("create table ratings (user, item, rating)")
    connection.commit()
    connection.close()
    return (folder / "made.sqlite").read_bytes()


PARQUET = written(lambda sink: pa.parquet.write_table(TABLE, sink))
ORC = written(lambda sink: pa.orc.write_table(TABLE, sink))
FEATHER = written(lambda sink: pa.feather.write_feather(TABLE, sink))
NPZ = written(lambda sink: np.savez(sink, user=np.arange(9)))
NPY = written(lambda sink: np.save(sink, np.arange(9)))
OLD_TAR = tar(dialect=tarfile.USTAR_FORMAT).replace(b"ustar\x0000", bytes(8))
"""As written before there was POSIX: nothing but the sum of the header tells of it."""
FILES: dict[str, tuple[bytes, str]] = {
    "a.tar": (tar(), TAR),
    "gnu.tar": (tar(dialect=tarfile.GNU_FORMAT), TAR),
    "named.csv": (tar(), TAR),
    "named.csv.gz": (gzip.compress(tar()), TAR),
    "a.tar.gz": (tar("w:gz"), TAR),
    "a.tgz": (tar("w:gz"), TAR),
    "a.TGZ": (tar("w:gz"), TAR),
    "a.tar.bz2": (tar("w:bz2"), TAR),
    "a.tbz2": (tar("w:bz2"), TAR),
    "a.tar.xz": (tar("w:xz"), TAR),
    "a.txz": (tar("w:xz"), TAR),
    "a.tar.zst": (packed("zstd", tar()), TAR),
    "a.tar.lz4": (packed("lz4", tar()), TAR),
    "a.csv.xz": (lzma.compress(ROWS), f"an xz file, which is not read; {UNPACK}"),
    "a.csv.lzma": (lzma.compress(ROWS, format=lzma.FORMAT_ALONE), f"an lzma file, which is not read; {UNPACK}"),
    "a.csv.lz4": (packed("lz4"), f"an lz4 file, which is not read; {UNPACK}"),
    "a.csv.sz": (b"\xff\x06\0\0sNaPpY" + ROWS, f"a Snappy file, which is not read; {UNPACK}"),
    "a.csv.Z": (b"\x1f\x9d\x90" + ROWS, f"a compress file (.Z), which is not read; {UNPACK}"),
    "a.csv.deflate": (zlib.compress(ROWS), f"a zlib file, which is not read; {UNPACK}"),
    "part.csv.snappy": (b"\0\0\x12\x34\0\0" + ROWS, f"a packed file, which is not read; {UNPACK}"),
    "a.csv.br": (b"\x1b\x0f\x01\xf8" + ROWS[:99], f"a packed file, which is not read; {UNPACK}"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99), f"a 7z archive, which is not read; {UNPACK}"),
    "a.rar": (b"Rar!\x1a\x07\x01\0" + bytes(99), f"a rar archive, which is not read; {UNPACK}"),
    "7z.csv": (b"7z\xbc\xaf\x27\x1c\0\4" + ROWS, "a 7z archive"),
    "gz_as.csv": (gzip.compress(ROWS), "a gzip file, whose name should end in .gz"),
    "no_suffix": (gzip.compress(ROWS), "a gzip file, whose name should end in .gz"),
    "bz2_as.csv": (bz2.compress(ROWS, 1), "a bzip2 file, whose name should end in .bz2"),
    "empty_bz2.csv": (bz2.compress(b""), "a bzip2 file, whose name should end in .bz2"),
    "zst_as.csv": (packed("zstd"), "a Zstandard file, whose name should end in .zst"),
    "zip_as.csv": (zipped("ratings.csv"), "a zip archive, whose name should end in .zip"),
    "twice.csv.gz": (gzip.compress(gzip.compress(ROWS)), "a gzip file packed by gzip; unpack it first"),
    "zip.csv.gz": (gzip.compress(zipped("ratings.csv")), "a zip archive packed by gzip; unpack it first"),
    "bz2.csv.gz": (gzip.compress(bz2.compress(ROWS)), "a bzip2 file packed by gzip; unpack it first"),
    "parquet_as.csv": (PARQUET, "a Parquet file, whose name should end in .parquet"),
    "parquet": (PARQUET, "a Parquet file, whose name should end in .parquet"),
    "parquet.csv.gz": (gzip.compress(PARQUET), "a Parquet file packed by gzip; unpack it first"),
    "a.orc": (ORC, f"an ORC file, which is not read; {EXPORT}"),
    "a.avro": (b"Obj\x01\x04\x16avro.schema" + ROWS, f"an Avro file, which is not read; {EXPORT}"),
    "a.feather": (FEATHER, f"an Arrow or Feather file, which is not read; {EXPORT}"),
    "a.arrow.gz": (gzip.compress(arrow_stream()), f"an Arrow or Feather file, which is not read; {EXPORT}"),
    "a.npy": (NPY, f"a NumPy array (npy), which is not read; {EXPORT}"),
    "a.npz": (NPZ, f"a NumPy archive (npz), which is not read; {EXPORT}"),
    "a.xlsx": (zipped("[Content_Types].xml"), f"an Office document such as xlsx, which is not read; {EXPORT}"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an old Office document such as xls, which"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), f"an HDF5 file, which is not read; {EXPORT}"),
    "matlab.csv": (bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    **{
        f"protocol_{number}.pkl": (
            pickle.dumps({"user": [1, 2]}, protocol=number),
            "a Python pickle, which is not",
        )
        for number in (2, 3, 4, 5)
    },
    "a.pdf": (b"%PDF-1.4\n%\xe2\xe3\n1 0 obj\n" + ROWS, "a PDF document, which is not read"),
    "login.csv": (b"\n<!DOCTYPE html>\n<html><body>a,b,c</body></html>\n", "an HTML page, not a table"),
    "a.xml": (b"<?xml version='1.0'?>\n<a>\n", "an XML document, which is not read"),
    "utf_32.csv": (ROWS.decode().encode("utf-32"), "UTF-32 text, which must be converted to UTF-8 first"),
}


def told_of(path: Path) -> str:
    """What `prepare` says, which is what `inspect` says."""
    with pytest.raises(DataError) as raised:
        read(configure(path))
    with pytest.raises(DataError) as sniff_raised:
        sniffed(path)
    assert str(raised.value) == str(sniff_raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_text_is_named_with_what_to_do(tmp_path, name):
    content, kind = FILES[name]
    (tmp_path / name).write_bytes(content)
    assert told_of(tmp_path / name).startswith(f"{tmp_path / name} is {kind}")


def test_tar_of_before_posix(tmp_path):
    header = bytearray(OLD_TAR[:512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.csv").write_bytes(bytes(header) + OLD_TAR[512:])
    assert TAR in told_of(tmp_path / "a.csv")


def test_a_sqlite_database(tmp_path):
    (tmp_path / "a.csv").write_bytes(sqlite(tmp_path))
    assert "is a SQLite database, which is not read; export the table" in told_of(tmp_path / "a.csv")


def test_the_field_case_of_tar_loses_no_first_rows(capsys):
    assert (
        told_of(CASES / "two_members.tar.gz") == f"{CASES}/two_members.tar.gz is {TAR} and name its folder or the "
        "files in it"
    )
    assert inspect(CASES / "two_members.tar.gz") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_path_into_a_tar_archive_is_told(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar())
    with pytest.raises(
        DataError,
        match=r"no file .*a\.tar/0/ratings\.csv: .*a\.tar is a file, and paths can only continue into zip",
    ):
        find_files("input.paths", [str(tmp_path / "a.tar/0/ratings.csv")], FileSettings())


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.csv.xz", "a.npz", "parquet_as.csv", "a.feather"])
def test_members_of_an_archive_are_told_alike(tmp_path, name):
    content, kind = FILES[name]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(name, content)
    what = kind.split(",")[0]
    assert told_of(tmp_path / "all.zip").startswith(f"{tmp_path}/all.zip/{name} is {what}")


def test_an_office_document_named_zip(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped("[Content_Types].xml", "xl/workbook.xml"))
    assert told_of(tmp_path / "a.zip") == (
        f"{tmp_path}/a.zip is an Office document such as xlsx, which is not read; export the table as CSV or "
        "Parquet"
    )


@pytest.mark.parametrize("name", ["a.tar", "a.orc", "a.feather", "gz_as.csv", "a.pdf", "a.xlsx"])
def test_what_is_named_parquet_and_is_not_is_told_by_its_content(tmp_path, name):
    content, kind = FILES[name]
    (tmp_path / "a.parquet").write_bytes(content)
    assert told_of(tmp_path / "a.parquet").startswith(
        f"{tmp_path}/a.parquet is not a usable Parquet file: it is {kind.split(',')[0]}"
    )


def test_text_that_is_named_parquet_is_told(tmp_path):
    (tmp_path / "a.parquet").write_bytes(ROWS)
    (tmp_path / "b.parquet").write_bytes(b'{"user": "u", "item": "i"}\n')
    assert told_of(tmp_path / "a.parquet").endswith("a usable Parquet file: it is text; change its suffix")
    assert "b.parquet is not a usable Parquet file: it is JSON Lines" in told_of(tmp_path / "b.parquet")


def test_parquet_of_another_name_is_read_where_the_settings_say_so(tmp_path):
    (tmp_path / "part-0").write_bytes(PARQUET)
    assert len(read(configure(tmp_path / "part-0", format="parquet"))[0]) == 100


LINES = [{"user": "u", "item": "i", "rating": 3}] * 40
OTHER_JSON: dict[str, tuple[bytes, str]] = {
    "lists.jsonl": (b'["u","i",3]\n["v","j",4]\n', "JSON arrays line by line, without keys"),
    "long_line.jsonl": (
        json.dumps({"text": "x" * (1 << 21), "user": "u"}).encode() + b"\n",
        "JSON with objects of",
    ),
    "array.json": (json.dumps(LINES).encode(), "a JSON array, not one object a line"),
    "lines_of_array.json": (
        b"[\n" + b",\n".join(json.dumps(line).encode() for line in LINES) + b"]",
        "a JSON array",
    ),
    "rows.json": (json.dumps([["u", "i", 3]] * 99_999).encode(), "a JSON array"),
    "pretty.json": (json.dumps(LINES, indent=2).encode(), "a JSON array"),
    "one.json": (json.dumps(LINES[0], indent=2).encode(), "JSON with objects of several lines"),
    "columns.json": (json.dumps({"user": list(range(200_000)), "item": []}).encode(), "JSON with objects of"),
    "together.json": (b'{"a":1,"b":2,"c":3}{"a":1,"b":2,"c":3}', "JSON with objects of several lines, or several"),
    "commas.json": (b'{"user":0,"item":0,"rating":1},\n' * 9, "JSON objects with a comma after each"),
}


@pytest.mark.parametrize("suffix", ["", ".csv"])
@pytest.mark.parametrize("name", OTHER_JSON)
def test_other_json_than_lines_is_told_and_how_to_convert_it(tmp_path, name, suffix):
    content, kind = OTHER_JSON[name]
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(content)
    told = told_of(path)
    assert told.startswith(f"{path} is {kind}")
    assert "not read; write one object a line, for example with jq -c " in told or "remove the commas" in told
    with pytest.raises(DataError) as refused:
        read(configure(path))
    assert str(refused.value) == told


JSON_LINES: dict[str, bytes] = {
    "objects.json": b"".join(json.dumps(line).encode() + b"\n" for line in LINES),
    "crlf.json": b"".join(json.dumps(line).encode() + b"\r\n" for line in LINES),
    "bom.jsonl": b"\xef\xbb\xbf" + json.dumps(LINES[0]).encode() + b"\n",
    "packed.jsonl.gz": gzip.compress(json.dumps(LINES[0]).encode() + b"\n"),
    "empty_first.jsonl": b'\n{}\n{"user":"u","item":"i","rating":3}\n',
    "damaged_first.jsonl": b'{"user":"u","it\n' + json.dumps(LINES[0]).encode() + b"\n",
    "list_first.jsonl": b'["u","i",3]\n' + json.dumps(LINES[0]).encode() + b"\n",
    "compact.NDJSON": b'{"user":"u","item":"i","rating":3}',
}


@pytest.mark.parametrize("name", JSON_LINES)
def test_json_lines_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(JSON_LINES[name])
    rows, rejected = read(configure(tmp_path / name))
    assert set(rows) == {("u", "i", 3.0)}
    assert len(rejected) == ("first" in name)
    assert sniffed(tmp_path / name).tree["format"] == "json"


def test_python_dictionaries_are_told(tmp_path):
    (tmp_path / "old.json").write_bytes(b"{'user_id': 'a', 'item': 'b', 'rating': 3}\n" * 9)
    assert "is Python dictionaries line by line, which are not read" in told_of(tmp_path / "old.json")


@pytest.mark.parametrize(("name", "num_rows"), [("amazon.json", 2), ("yelp_compact.json", 3)])
def test_the_field_cases_of_json_lines(name, num_rows, capsys):
    assert inspect(CASES / name) == 0
    assert "Not found" not in capsys.readouterr().out
    assert parsed_sample(sniffed(CASES / name)).num_good == num_rows


TEXTS = {
    "braces": ("{a},{b},3\n{c},{d},4\n", [("{a}", "{b}", 3.0), ("{c}", "{d}", 4.0)]),
    "an object as an id": ('{"a":1},i,3\n{"a":2},j,4\n', [('{"a":1}', "i", 3.0), ('{"a":2}', "j", 4.0)]),
    "a dictionary as an id": ("{'a': 1},i,3\n{'a': 2},j,4\n", [("{'a': 1}", "i", 3.0), ("{'a': 2}", "j", 4.0)]),
    "brackets": ("[1],[2],3\n[3],[4],4\n", [("[1]", "[2]", 3.0), ("[3]", "[4]", 4.0)]),
    "a list as an id": ("[],x,3\n[],y,4\n", [("[]", "x", 3.0), ("[]", "y", 4.0)]),
    "ORC": ("ORC1,i,3\nORC2,j,4\n", [("ORC1", "i", 3.0), ("ORC2", "j", 4.0)]),
    "PK": ("PK,i,3\nPAR1,j,4\n", [("PK", "i", 3.0), ("PAR1", "j", 4.0)]),
    "PAR1": ("PAR1,i,3\n7z,j,4\n", [("PAR1", "i", 3.0), ("7z", "j", 4.0)]),
    "BZh": ("BZh9,i,3\nRar!,j,4\n", [("BZh9", "i", 3.0), ("Rar!", "j", 4.0)]),
    "a page": ("<html1>,i,3\n<html2>,j,4\n", [("<html1>", "i", 3.0), ("<html2>", "j", 4.0)]),
    "a document": ("%PDF-a,i,3\n%PDF-b,j,4\n", [("%PDF-a", "i", 3.0), ("%PDF-b", "j", 4.0)]),
    "FEA1": ("FEA1,i,3\nObj,j,4\n", [("FEA1", "i", 3.0), ("Obj", "j", 4.0)]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_begin_alike_are_read(tmp_path, name):
    text, rows = TEXTS[name]
    (tmp_path / "a.csv").write_text(text)
    config = configure(tmp_path / "a.csv", {"user": 0, "item": 1, "rating": 2}, header=False, quote=None)
    assert read(config) == (rows, [])


@pytest.mark.parametrize(
    ("text", "encoding", "separator"), [("x\xda", "latin-1", ","), ("ORCID", "utf-8", "\x01")]
)
def test_texts_of_other_encodings_and_separators_that_begin_alike_are_read(tmp_path, text, encoding, separator):
    (tmp_path / "a.csv").write_text(f"{text}{separator}i{separator}3\n" * 2, encoding=encoding)
    columns = {"user": 0, "item": 1, "rating": 2}
    config = configure(tmp_path / "a.csv", columns, header=False, separator=separator, encoding=encoding)
    assert read(config) == ([(text, "i", 3.0)] * 2, [])


def test_names_that_stand_twice_in_a_header_are_said(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,rating,user\n" + "u,i,3,v\n" * 20)
    with pytest.raises(
        DataError, match=r"columns\.user: .* has more than one column 'user'; its header is: user, "
    ):
        read(configure(tmp_path / "a.csv"))
    found = sniffed(tmp_path / "a.csv")
    assert found.missing == ("user",)
    assert "2 columns are named 'user'" in found.remarks[0]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"070701" + b"0" * 104 + b"a.csv\0user,item,rating\n1,2,3\n", "a cpio archive"),
        (b"070707" + b"0" * 70 + b"a.csv\0user,item,rating\n1,2,3\n", "a cpio archive"),
        (b"!<arch>\na.csv/  0  0  0  644  30  `\nuser,item,rating\n1,2,3\n", "an ar archive"),
        (b"%%MatrixMarket matrix coordinate real general\n3 3 1\n1 2 3\n", "a Matrix Market file"),
        (b'{"user":0,"item":0,"rating":1},\n' * 9, "JSON objects with a comma"),
    ],
)
def test_more_that_reads_like_lines_is_named(tmp_path, content, kind):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=kind):
        sniffed(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("brackets.tsv", "".join(f"[{user}]\t[{item}]\t5\n" for user in range(5) for item in range(5))),
        ("braces.tsv", "".join(f'{{"id":{user}}}\t{{"id":7}}\t3\n' for user in range(9))),
        ("ratings.amazon.com.br", "user,item,rating\n1,2,3\n2,3,4\n"),
        ("070701.csv", "070701,1,5\n070702,2,4\n"),
    ],
)
def test_tables_that_begin_like_something_else_are_read(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert len(sniffed(tmp_path / name).columns) == 3


TWO_ROWS = "user,item,rating\n1,2,3\n2,3,4\n"


def upper_case_files(folder):
    """The same rows in files whose names end in upper case."""
    with gzip.open(folder / "A.CSV.GZ", "wt") as file:
        file.write(TWO_ROWS)
    with zipfile.ZipFile(folder / "A.ZIP", "w") as archive:
        archive.writestr("R.CSV", TWO_ROWS)
    table = pa.table({"user": [1, 2], "item": [2, 3], "rating": [3.0, 4.0]})
    pa.parquet.write_table(table, folder / "A.PARQUET")


@pytest.mark.parametrize("name", ["A.CSV.GZ", "A.ZIP", "A.ZIP/R.CSV", "A.PARQUET"])
def test_endings_are_told_in_upper_case_too(tmp_path, name):
    upper_case_files(tmp_path)
    assert read(configure(tmp_path / name)) == ([("1", "2", 3.0), ("2", "3", 4.0)], [])
