"""Small files of ratings that usual readers take wrongly in silence, and what has to come of each of them.

Run this file to write all others of its folder anew. Packed files are put together by hand where a library would
make them differ from version to version.
"""

from __future__ import annotations

import bz2
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
HEADER = b"user,item,rating\n"
GOOD = HEADER + b"u,i,3\nv,j,4\n"
GOOD_ROWS = [(2, "u", "i", 3.0), (3, "v", "j", 4.0)]
POSITIONS = {"header": False, "columns": {"user": 0, "item": 1, "rating": 2}}
TIMED = {"columns": {"user": "user", "item": "item", "rating": "rating", "timestamp": "time"}}
NETFLIX = {"layout": "netflix", "header": False, "quote": None, "columns": {"user": 0, "rating": 1}}
SEVERAL = "wrong number of fields"
NUMBER = "rating is not a finite number"
TIME = "timestamp is not a whole number"
LINE_BYTES = 1 << 30
RLE_BYTES = 1 << 17


@dataclass(frozen=True)
class Case:
    """One file. `rows` are (line, user, item, rating), with a fifth the timestamp; `rejects` (line, reason)."""

    name: str
    content: bytes
    rows: Sequence[tuple[Any, ...]] = ()
    rejects: Sequence[tuple[int, str]] = ()
    error: str | None = None
    """The whole line of the error, FILE for the file; its beginning where it ends in ..."""
    input: dict[str, Any] = field(default_factory=dict)
    ratings: dict[str, Any] = field(default_factory=dict)
    """Keys of the configuration, beside `min: 0.5` and `max: 5`."""
    is_large: bool = False
    """Whether it unpacks to so much that it is read once only."""


def gzip_of(data: bytes) -> bytes:
    """A gzip member of one stored block."""
    block = b"\1" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block + struct.pack("<II", zlib.crc32(data), len(data))


def zstd_of(data: bytes) -> bytes:
    """A Zstandard frame of one raw block of fewer than 256 bytes."""
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def zstd_run(sign: bytes, count: int) -> bytes:
    """A Zstandard frame that unpacks to `count` times the same byte, in blocks of RLE_BYTES."""
    block = struct.pack("<I", RLE_BYTES << 3 | 1 << 1)[:3] + sign
    return b"\x28\xb5\x2f\xfd\0\x38" + block * (count // RLE_BYTES) + struct.pack("<I", 1)[:3]


def zip_of(members: dict[str, bytes]) -> bytes:
    """An archive whose members are stored as they are."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return sink.getvalue()


def flagged(archive: bytes, offset: int, value: int) -> bytes:
    """The archive of one member with a byte changed that stands at `offset` in both of the member's headers."""
    changed = bytearray(archive)
    changed[offset] = changed[changed.index(b"PK\1\2") + offset + 2] = value
    return bytes(changed)


SHORT_AND_LONG = [
    Case("short_row.csv", HEADER + b"u,i,3\nu,j\nv,j,4\n", [GOOD_ROWS[0], (4, "v", "j", 4.0)], [(3, SEVERAL)]),
    Case("extra_field.csv", HEADER + b"u,i,3\nu,j,4,\nu,k,4,5\n", GOOD_ROWS[:1], [(3, SEVERAL), (4, SEVERAL)]),
    Case("trailing_blank_lines.csv", GOOD + b"\n\r\n\n", GOOD_ROWS),
    Case("blank_lines_between.csv", HEADER + b"\n\nu,i,3\n\nv,j,4", [(4, "u", "i", 3.0), (6, "v", "j", 4.0)]),
    Case("blanks_only.csv", GOOD + b" \n\t\n", GOOD_ROWS, [(4, SEVERAL), (5, SEVERAL)]),
    Case("no_last_line_end.csv", GOOD.removesuffix(b"\n"), GOOD_ROWS),
    Case(
        "line_of_1_gb.csv.zst",
        zstd_of(GOOD) + zstd_run(b"x", LINE_BYTES) + zstd_of(b"\nw,k,5\n"),
        [*GOOD_ROWS, (5, "w", "k", 5.0)],
        [(4, "line too long")],
        is_large=True,
    ),
]

IDS = [
    Case(
        "big_id_beside_empty.csv",
        HEADER + b"9007199254740993,i,3\n,i,3\n9007199254740992,,3\n9007199254740992,i,3\n",
        [(2, "9007199254740993", "i", 3.0), (5, "9007199254740992", "i", 3.0)],
        [(3, "empty user id"), (4, "empty item id")],
    ),
    Case(
        "64_bit_ids.csv",
        HEADER + b"18446744073709551615,9007199254740993,3\n-9223372036854775808,9223372036854775807,3\n",
        [
            (2, "18446744073709551615", "9007199254740993", 3.0),
            (3, "-9223372036854775808", "9223372036854775807", 3.0),
        ],
    ),
    Case(
        "leading_zeros.csv",
        HEADER + b"007,07,3\n7,7,3\n7.0,+7,3\n",
        [(2, "007", "07", 3.0), (3, "7", "7", 3.0), (4, "7.0", "+7", 3.0)],
    ),
    Case(
        "textual_from_row_30001.csv.bz2",
        bz2.compress(HEADER + b"7,7,3\n" * 30_000 + b"x7,7,3\n"),
        [*((line, "7", "7", 3.0) for line in range(2, 30_002)), (30_002, "x7", "7", 3.0)],
        is_large=True,
    ),
    Case(
        "blanks_around.csv",
        HEADER + b" u,i ,3\nu,i,3\nu,j, 3\n",
        [(2, " u", "i ", 3.0), (3, "u", "i", 3.0)],
        [(4, NUMBER)],
    ),
    Case(
        "names_of_nothing.csv",
        HEADER + b"NA,null,3\nNaN,None,3\ntrue,-,3\n",
        [(2, "NA", "null", 3.0), (3, "NaN", "None", 3.0), (4, "true", "-", 3.0)],
    ),
    Case(
        "unicode_forms.csv",
        HEADER + "Am\u00e9lie,\u2603,3\nAme\u0301lie,\u2603\ufe0f,3\n".encode(),
        [(2, "Am\u00e9lie", "\u2603", 3.0), (3, "Ame\u0301lie", "\u2603\ufe0f", 3.0)],
    ),
    Case("control_characters.csv", HEADER + b"u\x1f,i\x1e\x7f,3\n", [(2, "u\x1f", "i\x1e\x7f", 3.0)]),
]

HEADERS = [
    Case(
        "no_header.csv",
        b"1,2,3\n4,5,3\n",
        error="input.columns.user: FILE has no column 'user'; its header is: 1, 2, 3",
    ),
    Case("unexpected_header.csv", GOOD, GOOD_ROWS, [(1, NUMBER)], input=POSITIONS),
    Case(
        "column_twice.csv",
        b"user,item,rating,user\nu,i,3,v\n",
        error="input.columns.user: FILE has more than one column 'user'; its header is: user, item, rating, user",
    ),
    Case("header_only.csv", HEADER, error="FILE has no rows"),
    Case(
        "header_of_128_kb.csv.zst",
        zstd_of(b'"user,') + zstd_run(b"x", RLE_BYTES) + zstd_of(b"\n"),
        error="input.columns.user: FILE has no column 'user'; its header is: ...",
        is_large=True,
    ),
    Case("empty.csv", b"", error="FILE is empty"),
    Case("nothing_but_line_ends.csv", b"\n\r\n\n", error="FILE is empty"),
    Case("byte_order_mark.csv", b"\xef\xbb\xbf" + GOOD, GOOD_ROWS),
]

SEPARATORS = [
    Case(
        "double_colon.dat",
        b"1::a:b::3\n2::c::4\n3::d\n",
        [(1, "1", "a:b", 3.0), (2, "2", "c", 4.0)],
        [(3, SEVERAL)],
        input={**POSITIONS, "separator": "::"},
    ),
    Case(
        "other_separator.csv",
        GOOD.replace(b",", b";"),
        error="input.columns.user: FILE has no column 'user'; its header is: user;item;rating; the separator "
        "seems to be ';': set 'input.separator=;'",
    ),
    Case(
        "position_beyond.tsv",
        b"u\ti\nv\tj\n",
        error="input.columns.rating is position 2 from 0, but the lines of FILE have 2 fields "
        "between separators '\\t'",
        input={**POSITIONS, "separator": "\t"},
    ),
    Case(
        "unclosed_quote.csv",
        HEADER + b'"u,i,3\nv,j,4\nw,k,"5\n',
        [(3, "v", "j", 4.0)],
        [(2, "quote not closed"), (4, "quote not closed")],
    ),
    Case(
        "quoted.csv",
        HEADER + b'"a,b","say ""i""",3\n"c",d,"4"\n',
        [(2, "a,b", 'say "i"', 3.0), (3, "c", "d", 4.0)],
    ),
    Case(
        "line_end_in_quotes.csv",
        HEADER + b'"a\nb",i,3\nv,j,4\n',
        [(4, "v", "j", 4.0)],
        [(2, "quote not closed"), (3, "stray quote in a field")],
    ),
    Case("quotes_that_are_none.csv", HEADER + b'"u,i,3\n', [(2, '"u', "i", 3.0)], input={"quote": None}),
    Case("windows_line_ends.csv", GOOD.replace(b"\n", b"\r\n"), GOOD_ROWS),
    Case(
        "old_mac_line_ends.csv",
        GOOD.replace(b"\n", b"\r"),
        error="FILE line 1 contains a carriage return; lines must end in LF or CRLF",
    ),
    Case(
        "mixed_line_ends.csv",
        HEADER + b"u,i,3\r\nw,i,3\rx,i,3\nv,j,4\r\r\ny,k,5\n",
        [(2, "u", "i", 3.0), (5, "y", "k", 5.0)],
        [(3, "carriage return inside a line"), (4, "carriage return inside a line")],
    ),
]

NUMBERS = [
    Case(
        "no_finite_number.csv",
        HEADER + b"u,a,NaN\nu,b,inf\nu,c,-Infinity\nu,d,\nu,e,1e999\nu,f,four\nu,g,3\n",
        [(8, "u", "g", 3.0)],
        [(line, NUMBER) for line in range(2, 8)],
    ),
    Case(
        "other_notations.csv",
        HEADER + "u,a,0x4\nu,b,4_0\nu,c,٤\nu,d,4f\nu,e,1e0\nu,f,+4\nu,g,.5\nu,h,5.\n".encode(),
        [(6, "u", "e", 1.0), (7, "u", "f", 4.0), (8, "u", "g", 0.5), (9, "u", "h", 5.0)],
        [(line, NUMBER) for line in range(2, 6)],
    ),
    Case(
        "decimal_comma.csv",
        b"user;item;rating\nu;i;4,5\nv;j;4\n",
        [(3, "v", "j", 4.0)],
        [(2, NUMBER)],
        input={"separator": ";"},
    ),
    Case(
        "decimal_comma_between_commas.csv",
        HEADER + b"u,i,4,5\nv,j,4\n",
        [(3, "v", "j", 4.0)],
        [(2, SEVERAL)],
    ),
    Case(
        "out_of_range.csv",
        HEADER + b"u,i,0\nu,j,5.5\nu,k,-4\nu,l,5\n",
        [(5, "u", "l", 5.0)],
        [(line, "rating out of range") for line in (2, 3, 4)],
    ),
    Case(
        "timestamps.csv",
        b"user,item,rating,time\nu,i,3,1.5s\nu,j,3,\nu,k,3,9223372036854775808\nu,l,3,-9223372036854775808\n",
        [(5, "u", "l", 3.0, -(2**63))],
        [(line, TIME) for line in (2, 3, 4)],
        input=TIMED,
    ),
    Case(
        "dates.csv",
        b"user,item,rating,time\nu,i,3,2005-02-29\nu,j,3,1970-01-02\nu,k,3,1/2/1970\nu,l,3,86400\n",
        [(3, "u", "j", 3.0, 86400)],
        [(line, "timestamp is not a date") for line in (2, 4, 5)],
        input={**TIMED, "timestamp_format": "iso"},
    ),
]

ENCODINGS = [
    Case(
        "latin_1_as_utf_8.csv",
        HEADER + "é,i,3\nv,j,4\n".encode("latin-1"),
        [(3, "v", "j", 4.0)],
        [(2, "not valid in the encoding")],
    ),
    Case(
        "latin_1.csv",
        HEADER + "é,ü,3\n".encode("latin-1"),
        [(2, "é", "ü", 3.0)],
        input={"encoding": "latin-1"},
    ),
    Case(
        "utf_16.csv",
        GOOD.decode().encode("utf-16"),
        error="FILE is UTF-16 text, which must be converted to UTF-8 first",
    ),
    Case("nul_byte.csv", HEADER + b"u\0,i,3\nv,j,4\n", [(3, "v", "j", 4.0)], [(2, "NUL byte")]),
    Case(
        "hole_of_nuls.csv",
        GOOD + bytes(300) + b"w,k,5\nx,l,5\n",
        [*GOOD_ROWS, (5, "x", "l", 5.0)],
        [(4, "NUL byte")],
    ),
]

PACKED = [
    Case("parts.csv.gz", gzip_of(GOOD[:20]) + gzip_of(GOOD[20:]), GOOD_ROWS),
    Case("truncated.csv.gz", gzip_of(GOOD)[:-9], error="FILE is a damaged or truncated gzip file: ..."),
    Case("checksum.csv.gz", gzip_of(GOOD)[:-8] + bytes(8), error="FILE is a damaged or truncated gzip file: ..."),
    Case("more_after.csv.gz", gzip_of(GOOD) + b"w,k,5\n", error="FILE is a damaged or truncated gzip file: ..."),
    Case("not_packed.csv.gz", GOOD, error="FILE is a damaged or truncated gzip file: ..."),
    Case("packed.csv", gzip_of(GOOD), error="FILE is a gzip file, whose name should end in .gz"),
    Case("truncated.csv.bz2", bz2.compress(GOOD)[:-9], error="FILE is a damaged or truncated bzip2 file: ..."),
    Case("more_after.csv.bz2", bz2.compress(GOOD) + b"w", error="FILE is a damaged or truncated bzip2 file: ..."),
    Case("truncated.csv.zst", zstd_of(GOOD)[:-9], error="FILE is a damaged or truncated Zstandard file: ..."),
    Case("more_after.csv.zst", zstd_of(GOOD) + b"w", error="FILE is a damaged or truncated Zstandard file: ..."),
    Case(
        "bomb.csv.zst",
        zstd_of(GOOD) + zstd_run(b"\n", LINE_BYTES),
        error="FILE unpacks to more than 1,000,000 bytes; if you trust it, set max_bytes higher or to null",
        input={"max_bytes": 1_000_000},
        is_large=True,
    ),
    Case(
        "archive.zip",
        zip_of({"a/": b"", "a/1.csv": GOOD, "__MACOSX/a/1.csv": b"\0", "a/.DS_Store": b"\0"}),
        GOOD_ROWS,
    ),
    Case("leads_outside.zip", zip_of({"../../1.csv": GOOD}), GOOD_ROWS),
    Case("empty.zip", zip_of({}), error="input.paths: FILE holds no files; it holds: nothing"),
    Case("tiny.zip", b"PK", error="FILE is a damaged or truncated zip file: ..."),
    Case("truncated.zip", zip_of({"1.csv": GOOD})[:-9], error="FILE is a damaged or truncated zip file: ..."),
    Case(
        "more_after.zip",
        zip_of({"1.csv": GOOD}) + b"w",
        error="FILE is a damaged or truncated zip file: data follows its end",
    ),
    Case(
        "checksum.zip",
        zip_of({"1.csv": GOOD}).replace(b"u,i,3", b"u,i,4"),
        error="FILE/1.csv is a damaged or truncated zip file: ...",
    ),
    Case(
        "encrypted.zip",
        flagged(zip_of({"1.csv": GOOD}), 6, 1),
        error="FILE/1.csv is encrypted; unpack the archive and name its files",
    ),
    Case(
        "unknown_method.zip",
        flagged(zip_of({"1.csv": GOOD}), 8, 98),
        error="FILE/1.csv uses compression method 98, which is not supported; unpack the archive and name its "
        "files",
    ),
    Case("text.parquet", GOOD, error="FILE is not a usable Parquet file: ..."),
]

NAMED_ITEMS = [
    Case(
        "damaged_name.txt",
        b"1:\nu,3\nv,4\n2\nw,5\n3:\nx,4\n:\ny,3\n",
        [(2, "u", "1", 3.0), (3, "v", "1", 4.0), (7, "x", "3", 4.0)],
        [(4, SEVERAL), (5, "no usable item line above"), (9, "empty item id")],
        input=NETFLIX,
    ),
    Case(
        "no_name.txt",
        b"u,3\nv,4\n1:\nw,5\n",
        [(4, "w", "1", 5.0)],
        [(1, "no usable item line above"), (2, "no usable item line above")],
        input=NETFLIX,
    ),
]

LIMITS = [
    Case(
        "none_valid.csv",
        HEADER + b"u,i,x\nu,j\nu,k,y\n",
        error=f"none of 3 rows is a valid rating; {NUMBER} 2, {SEVERAL} 1; first: FILE line 2: {NUMBER}: 'u,i,x'",
    ),
    Case(
        "too_many_refused.csv",
        GOOD + b"u,k\nu,l,x\n",
        error="2 of 4 rows are not valid ratings, more than ratings.max_rejected 0.4 allows; "
        f"{NUMBER} 1, {SEVERAL} 1; first: FILE line 4: {SEVERAL}: 'u,k'",
        ratings={"max_rejected": 0.4},
    ),
]

CASES = [
    *SHORT_AND_LONG,
    *IDS,
    *HEADERS,
    *SEPARATORS,
    *NUMBERS,
    *ENCODINGS,
    *PACKED,
    *NAMED_ITEMS,
    *LIMITS,
]


def main() -> None:
    """Write the files, and remove what belongs to no case any more."""
    names = {case.name for case in CASES}
    for path in FOLDER.iterdir():
        if path.is_file() and path.suffix != ".py" and path.name not in names:
            path.unlink()
    for case in CASES:
        (FOLDER / case.name).write_bytes(case.content)


if __name__ == "__main__":
    main()
