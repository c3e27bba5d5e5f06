"""Packed files: the same lines however they were packed, and nothing taken in silence that is not whole."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.sources import InputFile, read_blocks
from recsys_dist.preparation.parsing.layout import read_layout
from recsys_dist.preparation.settings.input import FileSettings, InputSettings, RatingColumns

LINES = b"".join(b"%d,%d,3\n" % (n, n * 7919 % 1013) for n in range(20_000))


def pack_zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def pack_zip(data: bytes, name: str = "folder/ratings.csv") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return sink.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": pack_zstd,
    "zip": pack_zip,
}


def find(path: Path | str, **settings: object) -> list[InputFile]:
    return find_files("input.paths", [str(path)], FileSettings.model_validate(settings))


def unpack(path: Path, **settings: object) -> bytes:
    (file,) = find(path, **settings)
    return b"".join(read_blocks(file, 0, file.num_bytes, 4096))


def write(folder: Path, suffix: str, content: bytes) -> Path:
    path = folder / f"ratings.csv.{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_is_its_lines(tmp_path, suffix):
    assert unpack(write(tmp_path, suffix, PACKERS[suffix](LINES))) == LINES


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_packed_parts_one_after_the_other_are_one_file(tmp_path, suffix):
    pack = PACKERS[suffix]
    assert unpack(write(tmp_path, suffix, pack(LINES[:5000]) + pack(LINES[5000:]))) == LINES


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[:-3],
    "cut in the second part": lambda data: data + data[:9],
    "something after the end": lambda data: data + b"x",
    "text after the end": lambda data: data + b"1,2,3\n4,5,3\n",
    "damaged inside": lambda data: data[: len(data) // 2] + b"\xff" * 40 + data[len(data) // 2 + 40 :],
    "another kind": lambda _data: LINES,
}


# pyarrow writes no checksum, without which Zstandard cannot tell.
DAMAGED = [case for case in itertools.product(PACKERS, DAMAGES) if case != ("zst", "damaged inside")]


@pytest.mark.parametrize(("suffix", "damage"), DAMAGED)
def test_a_packed_file_that_is_not_whole_is_named(tmp_path, suffix, damage):
    # Noise does not shrink, so that the damage in the middle meets data and no table.
    noise = np.random.default_rng(0).integers(48, 58, 50_000, np.uint8).tobytes() + b"\n"
    path = write(tmp_path, suffix, DAMAGES[damage](PACKERS[suffix](noise)))
    with pytest.raises(DataError, match=rf"ratings\.csv\.{suffix}.* is a damaged or truncated ") as caught:
        unpack(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_bomb_ends_at_max_bytes(tmp_path, suffix):
    path = write(tmp_path, suffix, PACKERS[suffix](bytes(4 << 20)))
    assert path.stat().st_size < 10_000
    assert unpack(path, max_bytes=4 << 20)
    assert unpack(path, max_bytes=None)
    with pytest.raises(
        DataError, match=rf"ratings\.csv\.{suffix} unpacks to more than 4,194,303 bytes; .*max_bytes"
    ):
        unpack(path, max_bytes=(4 << 20) - 1)


def test_a_file_whose_name_hides_its_packing_is_named(tmp_path):
    columns = RatingColumns(user="user", item="item", rating="rating")
    for suffix, pack in PACKERS.items():
        path = tmp_path / f"{suffix}.csv"
        path.write_bytes(pack(LINES))
        settings = InputSettings(paths=(str(path),), columns=columns)
        with pytest.raises(DataError, match=rf"{suffix}\.csv is a .*, whose name should end in \.{suffix}$"):
            read_layout(find(path)[0], settings, dict(columns), "input")


def test_each_member_of_an_archive_is_a_file(tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b/2.csv", "b/1.csv.gz", "../a.csv", "__MACOSX/a.csv", "b/.DS_Store", "b/"):
            archive.writestr(name, gzip.compress(LINES) if name.endswith(".gz") else name.encode())
    files = find(path)
    assert [file.name for file in files] == [f"{path}/{name}" for name in ("../a.csv", "b/1.csv.gz", "b/2.csv")]
    contents = [b"".join(read_blocks(file, 0, file.num_bytes, 1 << 20)) for file in files]
    assert contents == [b"../a.csv", LINES, b"b/2.csv"]
    assert find(f"{path}/b/2.csv") == files[2:]
    assert find(f"{path}/b/*") == files[1:]
    assert find(f"{tmp_path}/*.zip") == files
    assert [file.member for file in find(f"{path}/__MACOSX/a.csv")] == ["__MACOSX/a.csv"]
    with pytest.raises(DataError, match=r"all\.zip holds no file c\.csv; it holds: b/2\.csv, "):
        find(f"{path}/c.csv")


def zip_of(**changes: int) -> bytes:
    """An archive whose only member claims something of itself, in both places where that stands."""
    content = bytearray(pack_zip(b"1,2,3\n", name="a.csv"))
    central = content.index(b"PK\1\2")
    for field, value in changes.items():
        local, listed = {"flags": (6, 8), "method": (8, 10)}[field]
        content[local] = content[central + listed] = value
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of(flags=1), r"x\.zip/a\.csv is encrypted; unpack the archive"),
        (zip_of(method=9), r"x\.zip/a\.csv uses compression method 9, which is not supported; unpack the archive"),
        (pack_zip(b"", name="inner.zip"), r"x\.zip/inner\.zip is an archive within an archive"),
        (pack_zip(b"", name="a.parquet"), r"x\.zip/a\.parquet: a packed Parquet file cannot be read in parts"),
        (pack_zip(b"", name="a\x1b[2J.csv"), r"x\.zip holds a member with control characters .*'a\\x1b\[2J\.csv'"),
        (
            pack_zip(b"", name="__MACOSX/a.csv"),
            r"input\.paths: .*x\.zip holds no files; it holds: __MACOSX/a\.csv",
        ),
    ],
)
def test_what_an_archive_must_not_hold_is_one_line(tmp_path, content, message):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match=message):
        find(tmp_path / "x.zip")


def test_two_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.csv", "1,2,3\n")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.csv", "4,5,3\n")
    with pytest.raises(DataError, match=r"x\.zip holds 2 members named 'a\.csv'"):
        find(tmp_path / "x.zip")


def test_a_folder_is_all_files_below_it(tmp_path):
    for name in ("b/c/1.csv", "b/2.parquet", "a.csv.gz", ".hidden/x.csv", "b/_SUCCESS", "b/.2.crc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "z.zip").write_bytes(pack_zip(LINES))
    files = find(f"{tmp_path}/")
    names = ("a.csv.gz", "b/2.parquet", "b/c/1.csv", "z.zip/folder/ratings.csv")
    assert [file.name for file in files] == [f"{tmp_path}/{name}" for name in names]
    assert [(file.format, file.packing) for file in files] == [
        ("csv", "gzip"),
        ("parquet", None),
        ("csv", None),
        ("csv", None),
    ]


def test_a_path_named_twice_is_one_file(tmp_path):
    path = write(tmp_path, "zip", pack_zip(LINES))
    patterns = [str(path), str(tmp_path), f"{path}/folder/*"]
    assert len(find_files("input.paths", patterns, FileSettings())) == 1
