"""The parser against bad input, and against a reader in plain Python that does one line after the other."""

import gzip
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES, read_blocks
from recsys_dist.preparation.parsing.layout import TextLayout, read_layout
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.parsing.rows import parse_text
from recsys_dist.preparation.settings.input import FileSettings, InputSettings, RatingColumns
from recsys_dist.preparation.settings.prepare import RatingRules
from tests.field_cases.reading import timestamps
from tests.support.quoted import fields_of

RULES = RatingRules(min=0.5, max=5)
POSITIONS = {"user": 0, "item": 1, "rating": 2, "timestamp": 3}


def layout(separator=",", quote='"', encoding="utf-8", header=False, num_fields=4):
    return TextLayout(separator, quote, encoding, header, num_fields, POSITIONS)


def parse(data, shape=None, rules=RULES, is_first=True):
    """Accepted rows as (line, user, item, rating, timestamp), refused ones as (line, reason, text)."""
    block = parse_text(data, shape or layout(), rules, is_first)
    rows = block.rows
    good = list(
        zip(
            rows.line.tolist(),
            rows.user.to_pylist(),
            rows.item.to_pylist(),
            rows.rating.tolist(),
            timestamps(block),
            strict=True,
        )
    )
    bad = [
        (line, Reason(code).label, text)
        for line, code, text in zip(
            block.rejects.line.tolist(), block.rejects.reason.tolist(), block.rejects.text.to_pylist(), strict=True
        )
    ]
    return good, bad


BAD_ROWS = [
    (b"u,i,4", Reason.FIELD_COUNT),
    (b"u,i,4,1,", Reason.FIELD_COUNT),
    (b"u", Reason.FIELD_COUNT),
    (b" ", Reason.FIELD_COUNT),
    (b",i,4,1", Reason.EMPTY_USER),
    (b'"",i,4,1', Reason.EMPTY_USER),
    (b"u,,4,1", Reason.EMPTY_ITEM),
    (b"u,i,,1", Reason.NOT_A_NUMBER),
    (b"u,i,NaN,1", Reason.NOT_A_NUMBER),
    (b"u,i,inf,1", Reason.NOT_A_NUMBER),
    (b"u,i,-Infinity,1", Reason.NOT_A_NUMBER),
    (b"u,i,1e999,1", Reason.NOT_A_NUMBER),
    (b"u,i,4e38,1", Reason.NOT_A_NUMBER),
    (b"u,i,0x4,1", Reason.NOT_A_NUMBER),
    (b"u,i,4 ,1", Reason.NOT_A_NUMBER),
    (b"u,i,4_0,1", Reason.NOT_A_NUMBER),
    (b"u,i,four,1", Reason.NOT_A_NUMBER),
    (b'u,i,"4,5",1', Reason.NOT_A_NUMBER),
    ("u,i,\u0664,1".encode(), Reason.NOT_A_NUMBER),
    (b"u,i,5.5,1", Reason.OUT_OF_RANGE),
    (b"u,i,-4,1", Reason.OUT_OF_RANGE),
    (b"u,i,4,", Reason.TIMESTAMP),
    (b"u,i,4,1.5s", Reason.TIMESTAMP),
    (b"u,i,4,9223372036854775808", Reason.TIMESTAMP),
    (b"u,i,4," + b"9" * 5000, Reason.TIMESTAMP),
    (b"u,i,4,0x1F", Reason.TIMESTAMP),
    (b"u,i\xff,4,1", Reason.ENCODING),
    (b"u,i,4,1,\xc3\x28", Reason.ENCODING),
    (b"u\0,i,4,1", Reason.NUL),
    (b"u,i\r,4,1", Reason.CARRIAGE_RETURN),
    (b"u,i,4,1\r\r", Reason.CARRIAGE_RETURN),
    (b'"u,i,4,1', Reason.QUOTE),
    (b'u,i,4,"1', Reason.QUOTE),
    (b"u" * (MAX_LINE_BYTES + 1) + b",i,4,1", Reason.LINE_LENGTH),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS, ids=[repr(row[:30]) for row, _ in BAD_ROWS])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_bad_row_is_refused_alone_with_its_line_and_reason(row, reason, place):
    good = [b"a,x,4,10", b"b,y,3.5,-20"]
    rows = {"first": [row, *good], "middle": [good[0], row, good[1]], "last": [*good, row]}[place]
    line = rows.index(row) + 1
    accepted, refused = parse(b"\r\n".join(rows))
    assert [row[1:] for row in accepted] == [("a", "x", 4.0, 10), ("b", "y", 3.5, -20)]
    assert [(where, why) for where, why, _ in refused] == [(line, reason.label)]
    assert len(refused[0][2]) <= 201


def test_the_range_is_that_of_the_float32_which_is_stored():
    assert parse(b"u,i,0.49999999999,1") == ([(1, "u", "i", 0.5, 1)], [])
    assert [why for _, why, _ in parse(b"u,i,0.4999999,1")[1]] == [Reason.OUT_OF_RANGE.label]


def test_blank_lines_header_bom_and_missing_last_line_end_lose_nothing():
    data = b"\xef\xbb\xbfuser,item,rating,timestamp\r\n\r\n1,2,3,4\r\n\n5,6,2,8\n\n\n"
    assert parse(data, layout(header=True)) == ([(3, "1", "2", 3.0, 4), (5, "5", "6", 2.0, 8)], [])
    assert parse(b"1,2,3,4") == ([(1, "1", "2", 3.0, 4)], [])
    assert parse(b"\n") == ([], [])
    assert parse(b"user,item,rating,timestamp", layout(header=True)) == ([], [])


def test_ids_stay_exactly_what_they_are():
    ids = [
        "007",
        "7",
        "7.0",
        "+7",
        " 7",
        "9223372036854775807",
        "18446744073709551615",
        "9007199254740993",
        "ß☃",
        "NA",
    ]
    accepted, refused = parse("".join(f"{name},{name},3,1\n" for name in ids).encode())
    assert refused == []
    assert [row[1] for row in accepted] == ids
    assert [row[2] for row in accepted] == ids


@pytest.mark.parametrize("separator", ["::", "\t", "|", ";", "§", "||", "\x1f\x1f"])
def test_any_separator(separator):
    rows = [["1", "a:b", "3", "4"], ["2", "c\x1fd", "3.5", "5"]]
    data = "".join(separator.join(row) + "\n" for row in rows).encode()
    accepted, refused = parse(data, layout(separator, quote=None))
    assert refused == []
    assert [row[1:] for row in accepted] == [("1", "a:b", 3.0, 4), ("2", "c\x1fd", 3.5, 5)]


def test_other_encodings_are_decoded_line_by_line_where_needed():
    rows = "é,ü,3,1\nß,x,4,2\n".encode("latin-1")
    assert [row[1] for row in parse(rows, layout(encoding="latin-1"))[0]] == ["é", "ß"]
    accepted, refused = parse("€,x,3,1\n".encode("cp1252") + b"\x81,x,3,1\na,x,2,1\n", layout(encoding="cp1252"))
    assert [row[1] for row in accepted] == ["€", "a"]
    assert [refusal[:2] for refusal in refused] == [(2, Reason.ENCODING.label)]


def reference(data: bytes) -> tuple[list[Any], list[Any]]:
    """One line after the other, by a loop over its characters and Python's own numbers."""
    accepted: list[Any] = []
    refused: list[Any] = []
    for number, line in enumerate(data.replace(b"\r\n", b"\n").split(b"\n"), start=1):
        found = row_of(line) if line else None
        if isinstance(found, Reason):
            refused.append((number, found.label))
        elif found is not None:
            accepted.append((number, *found))
    return accepted, refused


def row_of(line: bytes) -> tuple[str, str, float, int] | Reason:
    """User, item, rating and timestamp, or the first reason that applies."""
    for sign, reason in ((b"\0", Reason.NUL), (b"\r", Reason.CARRIAGE_RETURN)):
        if sign in line:
            return reason
    try:
        fields = fields_of(line.decode(), ",", '"')
    except UnicodeDecodeError:
        return Reason.ENCODING
    if isinstance(fields, Reason):
        return fields
    return row_of_fields(*fields) if len(fields) == 4 else Reason.FIELD_COUNT


def row_of_fields(user: str, item: str, rating: str, timestamp: str) -> tuple[str, str, float, int] | Reason:
    if not user:
        return Reason.EMPTY_USER
    if not item:
        return Reason.EMPTY_ITEM
    # Plain notation in ASCII: Python's float takes more than that.
    is_plain = rating.isascii() and set(rating) <= set("0123456789+-.eE") and is_float(rating)
    with np.errstate(over="ignore"):
        stored = float(np.float32(float(rating))) if is_plain else math.inf
    if not math.isfinite(stored):
        return Reason.NOT_A_NUMBER
    if not 0.5 <= stored <= 5:
        return Reason.OUT_OF_RANGE
    is_whole = re.fullmatch(r"[+-]?[0-9]+", timestamp) is not None
    if not is_whole or not -(2**63) <= int(timestamp) < 2**63:
        return Reason.TIMESTAMP
    return user, item, stored, int(timestamp)


def is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


ids = st.text("aé☃\t 07.,\"'", max_size=4)
good_ratings = st.floats(0.5, 5, width=32).map(str) | st.sampled_from(["1", "+2", ".5", "5.", "3.5e0", "45E-1"])
other_ratings = st.floats().map(str) | st.text("+-.0123456789eEx_ ", max_size=6)
good_times = st.integers(-(2**63), 2**63 - 1).map(str) | st.sampled_from(["+7", "-0", "007"])
other_times = st.integers(-(2**70), 2**70).map(str) | st.sampled_from(["", " 7", "x", "٣", "0x1F", "1_000"])
quoted = ids.map(lambda text: '"' + text.replace('"', '""') + '"')
fields = st.tuples(ids | quoted, ids | quoted, good_ratings | other_ratings, good_times | other_times)
good_rows = st.tuples(quoted, quoted, good_ratings, good_times)
damage = st.sampled_from([b"\xff", b"\xc3", b"\0", b"\r", b'"', b",", b""])


@st.composite
def any_line(draw):
    """A row that is often good, sometimes with a byte put anywhere into it."""
    line = ",".join(draw(good_rows | fields)).encode()
    place, sign = draw(st.integers(0, len(line))), draw(st.just(b"") | damage)
    return line[:place] + sign + line[place:]


@settings(max_examples=300, deadline=None)
@given(st.lists(any_line() | st.just(b""), max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_any_text_gives_the_rows_of_one_line_after_the_other(lines, line_end, ends):
    data = line_end.join(lines) + (line_end if ends else b"")
    accepted, refused = parse(data)
    assert (accepted, [refusal[:2] for refusal in refused]) == reference(data)


pieces = st.sampled_from(["a", "b", '"', '""', ",", ",1,7\n", ",2.5,7\n", "x,y", "\n", '"a,b"', '"u""v",i,1,7\n'])


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=25).map("".join))
def test_quoted_fields_are_read_as_one_line_at_a_time_would(text):
    data = text.encode()
    accepted, refused = parse(data)
    assert (accepted, [refusal[:2] for refusal in refused]) == reference(data)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["u,i,1,7", "", "u,,1,7", "u,i", "long" * 30]), min_size=1, max_size=40),
    st.integers(1, 300),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_blocks_of_any_size_hold_the_same_lines(tmp_path_factory, rows, block_bytes, line_end, ends, is_gzip):
    data = (line_end.join(rows) + (line_end if ends else "")).encode()
    folder = tmp_path_factory.mktemp("blocks")
    path = folder / ("ratings.csv.gz" if is_gzip else "ratings.csv")
    path.write_bytes(gzip.compress(data) if is_gzip else data)
    file = find_files("input.paths", [str(path)], FileSettings())[0]
    blocks = [
        block for start, stop in file.blocks(block_bytes) for block in read_blocks(file, start, stop, block_bytes)
    ]
    first_line = 0
    seen: tuple[list[Any], list[Any]] = ([], [])
    for number, block in enumerate(blocks):
        for found, all_found in zip(parse(block, is_first=number == 0), seen, strict=True):
            all_found += [(row[0] + first_line, *row[1:]) for row in found]
        first_line += parse_text(block, layout(), RULES, number == 0).num_lines
    assert seen == parse(data)


def test_an_overlong_line_across_blocks_is_one_refused_line(tmp_path):
    rows = b"a,x,3,1\n" + b"u" * (5 * MAX_LINE_BYTES) + b"\nb,y,4,2\n"
    for name, content in (("ratings.csv", rows), ("ratings.csv.gz", gzip.compress(rows))):
        (tmp_path / name).write_bytes(content)
        file = find_files("input.paths", [str(tmp_path / name)], FileSettings())[0]
        first_line, users, refused = 0, [], []
        for start, stop in file.blocks(1000):
            for block in read_blocks(file, start, stop, 1000):
                parsed = parse_text(block, layout(), RULES, False)
                users += parsed.rows.user.to_pylist()
                refused += (parsed.rejects.line + first_line).tolist()
                first_line += parsed.num_lines
        assert (users, refused, first_line) == (["a", "b"], [2], 3)


def read(path, **changes):
    columns = RatingColumns(**changes.pop("columns", {"user": "user", "item": "item", "rating": "rating"}))
    settings = InputSettings(paths=(str(path),), columns=columns, **changes)
    return read_layout(find_files("input.paths", settings.paths, settings)[0], settings, dict(columns), "input")


def test_columns_are_found_by_name_wherever_they_stand(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_bytes(b'\xef\xbb\xbf"when",rating,"item",user\r\n1,2,3,4\r\n')
    assert read(path).positions == {"user": 3, "item": 2, "rating": 1}
    path.write_text("user,item,stars\n")
    with pytest.raises(
        DataError, match=r"input\.columns\.rating: .*no column 'rating'; its header is: user, item, stars"
    ):
        read(path)
    path.write_text("user,item,rating,user\n")
    with pytest.raises(DataError, match=r"columns\.user: .*more than one column 'user'"):
        read(path)


def test_without_header_the_usual_number_of_fields_counts(tmp_path):
    path = tmp_path / "ratings.dat"
    path.write_text("broken\n1::2::3\n1::2::3::4\n1::2::3\n")
    positions = {"user": 0, "item": 1, "rating": 2}
    assert read(path, separator="::", header=False, columns=positions).num_fields == 3
    with pytest.raises(DataError, match=r"input\.columns\.rating is position 3 from 0, but .* have 3 fields"):
        read(path, separator="::", header=False, columns={**positions, "rating": 3})
    path.write_text("")
    with pytest.raises(DataError, match="is empty"):
        read(path)


def test_a_damaged_gzip_file_is_named(tmp_path):
    path = tmp_path / "ratings.csv.gz"
    whole = gzip.compress(np.random.default_rng(0).bytes(100_000))
    for content in (whole[:-2000], b"not gzip at all", whole[:5000] + b"\0" * 100 + whole[5100:]):
        path.write_bytes(content)
        file = find_files("input.paths", [str(path)], FileSettings())[0]
        with pytest.raises(DataError, match=r"ratings\.csv\.gz is a damaged or truncated gzip file"):
            list(read_blocks(file, 0, 0, 4096))
