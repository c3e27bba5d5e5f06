"""Parquet has the strictness of text: what no line could hold is set aside, and every type of text is read."""

from __future__ import annotations

import decimal
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES
from recsys_dist.preparation.parsing.input_blocks import find_blocks
from recsys_dist.preparation.parsing.parquet_types import decoded, is_text, is_whole, value_type
from recsys_dist.preparation.parsing.titles import find_titles, find_titles_files, read_titles
from recsys_dist.preparation.settings.input import ItemsSettings
from recsys_dist.preparation.tasks.tasks import parse_block
from tests.field_cases.reading import CASES, configure, parsed_sample, read, sniffed, timestamps

ENCODING, NUL, RETURN = "not valid in the encoding", "NUL byte", "carriage return inside a line"
FEED, LENGTH, NUMBER = "line feed inside a field", "line too long", "rating is not a finite number"
BAD = {
    b"caf\xe9": ENCODING,
    b"\xff\xfe": ENCODING,
    b"\xed\xa0\x80": ENCODING,
    b"\xc0\xaf": ENCODING,
    b"a\0b": NUL,
    b"\0": NUL,
    b"a\rb": RETURN,
    b"a\r": RETURN,
    b"a\nb": FEED,
    b"\n": FEED,
    b"\xff\n": ENCODING,
    b"\xff\r\0": NUL,
    b"x" * (MAX_LINE_BYTES + 1): LENGTH,
}
"""Texts that no field may hold, and why."""


def texts(values: Sequence[bytes | None], kind: pa.DataType | None = None) -> pa.Array:
    """A column of texts that may hold any bytes, of one of the types for text."""
    kind = kind or pa.string()
    storage = pa.array(values, pa.binary())
    plain = pa.Array.from_buffers(pa.string(), len(storage), storage.buffers(), storage.null_count)
    if pa.types.is_dictionary(kind):
        return plain.dictionary_encode()
    return plain.cast(kind)


def write(path: Path, num_rows: int = 0, **columns: Any) -> Path:
    """A Parquet file; a column that is not given holds good values."""
    num_rows = num_rows or max((len(column) for column in columns.values()), default=2)
    usual = {"user": [f"u{n}" for n in range(num_rows)], "item": ["i"] * num_rows, "rating": [3.0] * num_rows}
    pq.write_table(pa.table({**usual, **columns}), path)
    return path


def read_file(path: Path, **keys: Any) -> tuple[list[tuple[str, str, float]], list[tuple[int, str]]]:
    return read(configure(path, **keys))


def test_the_field_case_keeps_the_row_that_is_text():
    assert read_file(CASES / "parquet/bad_utf8.parquet") == (
        [("ok", "b", 2.0)],
        [(1, ENCODING), (3, ENCODING), (4, ENCODING)],
    )
    rows, rejects = read_file(CASES / "parquet/bad_utf8_item2.parquet")
    assert {item for _, item, _ in rows} == {"good1", "good2", "good3"}
    assert (len(rows), rejects) == (6, [(4, ENCODING), (8, ENCODING)])


@pytest.mark.parametrize("field", ["user", "item"])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad[:6]))
def test_a_text_that_no_line_could_hold_is_set_aside_with_the_reason(tmp_path, field, bad):
    path = write(tmp_path / "a.parquet", **{field: texts([b"first", bad, b"third"])})
    rows, rejects = read_file(path)
    assert [row[{"user": 0, "item": 1}[field]] for row in rows] == ["first", "third"]
    assert rejects == [(2, BAD[bad])]


KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_type_of_text_is_read_and_checked(tmp_path, kind):
    values = ["caf\u00e9".encode(), b"caf\xe9", None, b"", b"007", b"caf\xe9", b"\x1f ok"]
    rows, rejects = read_file(write(tmp_path / "a.parquet", user=texts(values, kind)))
    assert [user for user, _, _ in rows] == ["caf\u00e9", "007", "\x1f ok"]
    assert rejects == [(2, ENCODING), (3, "empty user id"), (4, "empty user id"), (6, ENCODING)]


def test_columns_that_parquet_itself_keeps_as_dictionaries_are_checked(tmp_path):
    values = [b"good", b"b\xe4d"] * 5000
    path = tmp_path / "a.parquet"
    table = pa.table({"user": texts(values, KINDS[-1]), "item": [f"i{n}" for n in range(10_000)]})
    pq.write_table(
        table.append_column("rating", [[2.0] * 10_000]), path, use_dictionary=["user"], row_group_size=999
    )
    rows, rejects = read_file(path)
    assert {user for user, _, _ in rows} == {"good"}
    assert (len(rows), len(rejects)) == (5000, 5000)


def test_a_long_stretch_of_one_bad_id_is_set_aside_row_by_row(tmp_path):
    # Ids in long stretches are looked up once for each stretch.
    values = [b"a"] * 3000 + [b"\xff"] * 3000 + [b"b"] * 3000
    rows, rejects = read_file(write(tmp_path / "a.parquet", user=texts(values)))
    assert [user for user, _, _ in rows] == ["a"] * 3000 + ["b"] * 3000
    assert rejects == [(row, ENCODING) for row in range(3001, 6001)]


def test_a_row_is_as_long_as_its_line(tmp_path):
    half = b"x" * (MAX_LINE_BYTES // 2)
    path = write(tmp_path / "a.parquet", user=texts([half, half[:-9], b"u"]), item=texts([half, half, half]))
    rows, rejects = read_file(path)
    assert [len(user) for user, _, _ in rows] == [MAX_LINE_BYTES // 2 - 9, 1]
    assert rejects == [(1, LENGTH)]


def test_the_same_rows_as_csv_are_refused_for_the_same_reasons(tmp_path):
    fields = [(b"caf\xe9", b"i"), (b"u", b"a\0b"), (b"v", b"j"), (b"w\rx", b"k"), (b"", b"l")]
    lines = b"".join(b"%s,%s,3\n" % pair for pair in fields)
    (tmp_path / "a.csv").write_bytes(b"user,item,rating\n" + lines)
    users, items = zip(*fields, strict=True)
    path = write(tmp_path / "a.parquet", user=texts(list(users)), item=texts(list(items)))
    (csv_rows, csv_rejects), (rows, rejects) = read_file(tmp_path / "a.csv"), read_file(path)
    assert csv_rows == rows == [("v", "j", 3.0)]
    assert [reason for _, reason in csv_rejects] == [reason for _, reason in rejects]


def test_texts_as_ratings_and_timestamps_are_checked(tmp_path):
    ratings = texts([b"3", b"\xff", b"4.5", b"3\0", b"3"])
    times = texts([b"1", b"2", b"\xc3", b"4", b"5\n"])
    path = write(tmp_path / "a.parquet", rating=ratings, time=times)
    columns = {"user": "user", "item": "item", "rating": "rating", "timestamp": "time"}
    rows, rejects = read(configure(path, columns))
    assert rows == [("u0", "i", 3.0)]
    assert rejects == [(2, ENCODING), (3, ENCODING), (4, NUL), (5, FEED)]


def test_rows_none_of_which_is_text_are_all_set_aside(tmp_path):
    path = write(tmp_path / "a.parquet", user=texts([b"\xff"] * 3, KINDS[-1]), item=texts([b"\0"] * 3))
    assert read_file(path) == ([], [(1, NUL), (2, NUL), (3, NUL)])


@pytest.mark.parametrize("kind", [pa.decimal128(38, 0), pa.string_view(), pa.large_string()], ids=str)
def test_timestamps_of_the_types_of_whole_numbers_and_text(tmp_path, kind):
    times = pa.array(["5", "1500000000"])
    column = times.cast(pa.int64()).cast(kind) if pa.types.is_decimal(kind) else times.cast(kind)
    path = write(tmp_path / "a.parquet", time=column)
    config = configure(path, {"user": "user", "item": "item", "rating": "rating", "timestamp": "time"})
    (block,) = find_blocks(config)
    (parsed,) = parse_block(block, config)
    assert timestamps(parsed) == [5, 1_500_000_000]


DECIMALS = [pa.decimal32(9, 0), pa.decimal64(18, 0), pa.decimal128(38, 0), pa.decimal256(60, 0)]


@pytest.mark.parametrize("kind", DECIMALS, ids=str)
def test_decimals_without_fractions_are_ids_as_in_csv(tmp_path, kind):
    numbers = [5, 0, -7, 123_456_789, None, 5]
    column = pa.array([None if n is None else decimal.Decimal(n) for n in numbers]).cast(kind)
    rows, rejects = read_file(write(tmp_path / "a.parquet", user=column, item=column))
    assert [user for user, _, _ in rows] == ["5", "0", "-7", "123456789", "5"]
    assert [item for _, item, _ in rows] == ["5", "0", "-7", "123456789", "5"]
    assert rejects == [(5, "empty user id")]


@pytest.mark.parametrize("kind", [*KINDS[:3], *DECIMALS, pa.int8()], ids=str)
def test_values_come_out_of_dictionaries_of_any_type(kind):
    # Other writers make dictionaries of types of which Arrow itself writes none.
    texts = kind in KINDS
    values = pa.array(["7", "5"] if texts else [decimal.Decimal(7), decimal.Decimal(5)]).cast(kind)
    column = pa.DictionaryArray.from_arrays(pa.array([0, 0, None, 1], pa.int8()), values)
    assert (is_text(value_type(column.type)), is_whole(value_type(column.type))) == (texts, not texts)
    assert decoded(column).cast(pa.string()).to_pylist() == ["7", "7", None, "5"]


def test_decimal_ids_are_exact_beyond_64_bits(tmp_path):
    large = 10**37 + 1
    column = pa.array([decimal.Decimal(large), decimal.Decimal(large + 1)], pa.decimal128(38, 0))
    rows, _ = read_file(write(tmp_path / "a.parquet", user=column))
    assert [user for user, _, _ in rows] == [str(large), str(large + 1)]


def test_the_field_cases_of_decimals():
    rows, rejects = read_file(CASES / "parquet/decimal.parquet")
    assert (rows, rejects) == ([("u1", "a", 1.5), ("u2", "b", 2.0), ("u3", "a", 3.5)], [(4, NUMBER)])
    rows, rejects = read_file(CASES / "parquet/decimal_id.parquet")
    assert ([user for user, _, _ in rows], rejects) == (["1", "2", "3", "1"], [])


@pytest.mark.parametrize("scale", [0, 1, 2, 10])
def test_decimal_ratings_are_the_floats_of_their_texts(tmp_path, scale):
    numbers = [decimal.Decimal("4"), decimal.Decimal(7).scaleb(-scale), decimal.Decimal(3)]
    column = pa.array(numbers, pa.decimal128(20, scale))
    rows, rejects = read_file(write(tmp_path / "a.parquet", rating=column))
    assert [rating for _, _, rating in rows] == [float(np.float32(float(number))) for number in numbers]
    assert rejects == []


def test_decimals_of_fractions_are_no_ids(tmp_path):
    path = write(tmp_path / "a.parquet", user=pa.array([decimal.Decimal("1.50")], pa.decimal128(9, 2)))
    with pytest.raises(DataError, match=r"columns\.user: 'user' of .* is decimal128\(9, 2\); it must hold whole"):
        read_file(path)


UNFIT = {
    "double": pa.array([1.0, 2.0]),
    "bool": pa.array([True, False]),
    "null": pa.nulls(2),
    "binary": pa.array([b"a", b"b"]),
    "fixed_size_binary[2]": pa.array([b"ab", b"cd"], pa.binary(2)),
    "extension<arrow.uuid>": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"1" * 16] * 2, pa.binary(16))),
    "extension<arrow.json>": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", "[]"])),
    "list<element: int64>": pa.array([[1], [2]]),
    "struct<a: int64>": pa.array([{"a": 1}, {"a": 2}]),
    "duration[s]": pa.array([1, 2], pa.duration("s")),
    "time64[us]": pa.array([1, 2], pa.time64("us")),
    "dictionary of double": pa.array([1.5, 2.5]).dictionary_encode(),
}


@pytest.mark.parametrize(
    ("field", "kind"),
    [("user", kind) for kind in UNFIT] + [("rating", kind) for kind in UNFIT if "double" not in kind],
)
def test_what_is_neither_text_nor_a_number_is_one_line_with_what_to_do(tmp_path, field, kind):
    path = write(tmp_path / "a.parquet", **{field: UNFIT[kind]})
    allowed = {"user": "whole numbers", "rating": "numbers"}[field]
    with pytest.raises(DataError) as caught:
        read_file(path)
    told = str(caught.value)
    assert told.startswith(f"input.columns.{field}: {field!r} of {path} is ")
    assert told.endswith(f"; it must hold {allowed} or text; cast it when writing the file")
    assert "\n" not in told
    # `inspect` proposes the column by its name, and says the same of it.
    assert f"the proposed settings cannot read the file: {told}" in sniffed(path).remarks


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint64()], ids=str)
def test_ratings_of_every_number(tmp_path, kind):
    path = write(tmp_path / "a.parquet", rating=pa.array([1.0, 2.0, 5.0]).cast(kind))
    assert [rating for _, _, rating in read_file(path)[0]] == [1.0, 2.0, 5.0]


def test_inspect_shows_bytes_that_are_no_text_and_counts_their_rows():
    found = sniffed(CASES / "parquet/bad_utf8.parquet")
    assert found.columns[0].examples == ("caf\\xe9", "ok", "\\xff\\xfe")
    assert (parsed_sample(found).num_good, parsed_sample(found).refused) == (1, {ENCODING: 3})


def test_a_column_of_numbers_as_decimals_is_proposed(tmp_path):
    ids = pa.array([decimal.Decimal(n) for n in range(200)], pa.decimal128(38, 0))
    ratings = pa.array([decimal.Decimal(n % 9) / 2 for n in range(200)], pa.decimal128(5, 1))
    pq.write_table(pa.table({"USER_ID": ids, "ITEM_ID": ids, "RATING": ratings}), tmp_path / "a.parquet")
    found = sniffed(tmp_path / "a.parquet")
    assert found.tree["columns"] == {"user": "USER_ID", "item": "ITEM_ID", "rating": "RATING"}
    assert [column.kind for column in found.columns] == ["whole numbers", "whole numbers", "decimals"]
    assert (parsed_sample(found).num_good, parsed_sample(found).refused.total()) == (200, 0)


def known_titles(path: Path, ids: list[str]) -> list[str | None]:
    """The titles that the file tells of some ids."""
    settings = ItemsSettings.model_validate({"paths": str(path), "columns": {"item": "id", "title": "name"}})
    known = read_titles(find_titles_files(settings), settings)
    return find_titles(known and known.table, pa.array(ids, pa.large_string())).to_pylist()


@pytest.mark.parametrize("kind", [*KINDS, pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_a_title_that_is_no_text_is_null_and_the_others_stay(tmp_path, kind):
    path = tmp_path / "titles.parquet"
    names = texts([b"Heat", b"Am\xe9lie", b"A\0B", b"two\nlines", b"M", None], kind)
    pq.write_table(pa.table({"id": pa.array([1, 2, 3, 4, 5, 6]), "name": names}), path)
    assert known_titles(path, list("123456")) == ["Heat", None, None, None, "M", None]


def test_ids_of_titles_are_those_of_ratings(tmp_path):
    path = tmp_path / "titles.parquet"
    ids = pa.array([decimal.Decimal(5), decimal.Decimal(6)], pa.decimal128(38, 0))
    pq.write_table(pa.table({"id": ids, "name": ["five", "six"]}), path)
    assert known_titles(path, ["5", "6"]) == ["five", "six"]
    pq.write_table(pa.table({"id": [5.0, 6.0], "name": ["five", "six"]}), path)
    with pytest.raises(DataError, match=r"items\.columns\.item: 'id' of .* is double; it must hold whole numbers"):
        known_titles(path, ["5"])
    pq.write_table(pa.table({"id": [5, 6], "name": [["five"], ["six"]]}), path)
    with pytest.raises(DataError, match=r"items\.columns\.title: 'name' of .* is list.*; it must hold text$"):
        known_titles(path, ["5"])


def test_a_name_that_stands_twice_is_said():
    path = CASES / "parquet/twice.parquet"
    with pytest.raises(
        DataError, match=r"columns\.user: .* has more than one column 'user'; it has: user, user, "
    ):
        read_file(path)
    found = sniffed(path)
    assert found.missing == ("user",)
    assert "2 columns are named 'user'" in found.remarks[0]


def test_columns_of_all_parts_are_looked_at_before_any_is_read(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", user=[1.5, 2.5])
    with pytest.raises(DataError, match=r"columns\.user: 'user' of .*b\.parquet is double; it must hold whole"):
        find_blocks(configure(tmp_path))


def test_a_name_that_stands_twice_elsewhere_does_no_harm(tmp_path):
    columns = [["u"], ["i"], [3.0], [1], [2]]
    table = pa.table([pa.array(column) for column in columns], names=["user", "item", "rating", "x", "x"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet") == ([("u", "i", 3.0)], [])
    assert "2 columns are named 'x'" in sniffed(tmp_path / "a.parquet").remarks[0]


def test_names_of_columns_that_are_no_text_are_one_line(tmp_path):
    sink = io.BytesIO()
    pq.write_table(pa.table({"usXr": ["u"], "item": ["i"], "rating": [3.0]}), sink, store_schema=False)
    (tmp_path / "a.parquet").write_bytes(sink.getvalue().replace(b"usXr", b"us\xffr"))
    for look in (read_file, sniffed):
        with pytest.raises(DataError, match=r"a\.parquet is not a usable Parquet file: .*utf-8") as caught:
            look(tmp_path / "a.parquet")
        assert "\n" not in str(caught.value)
