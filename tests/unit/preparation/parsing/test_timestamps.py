"""Timestamps: numbers as they are, dates and times as seconds since 1970, exact to the billionth, or refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.parsing.parquet import parse_parquet
from recsys_dist.preparation.parsing.timestamps import BILLION, Moments, parse_timestamps
from recsys_dist.preparation.settings.input import FileSettings, RatingColumns
from recsys_dist.preparation.settings.prepare import RatingRules

NOON = int(datetime(2005, 9, 6, 12, 0, 1, tzinfo=UTC).timestamp())
MIDNIGHT = NOON - 12 * 3600 - 1
GOOD_DATES = {
    "2005-09-06": (MIDNIGHT, 0),
    "2005-09-06 12:00:01": (NOON, 0),
    "2005-09-06T12:00:01": (NOON, 0),
    "2005-09-06T12:00:01Z": (NOON, 0),
    "2005-09-06 12:00:01 UTC": (NOON, 0),
    "2005-09-06T12:00:01.999999999Z": (NOON, 999_999_999),
    "2005-09-06T12:00:01.9999999999Z": (NOON, 999_999_999),
    "2005-09-06 12:00:01,5": (NOON, 500_000_000),
    "2005-09-06T12:00:01+00:00": (NOON, 0),
    "2005-09-06T12:00:01+02:00": (NOON - 7200, 0),
    "2005-09-06T12:00:01+0530": (NOON - 19_800, 0),
    "2005-09-06 12:00:01-08": (NOON + 28_800, 0),
    "2005-09-06 12:00:01.25 -0330": (NOON + 12_600, 250_000_000),
    "1969-12-31T23:59:59.5": (-1, 500_000_000),
    "1970-01-01T01:00:00+02:00": (-3600, 0),
    "2004-02-29": (MIDNIGHT - 555 * 86400, 0),
    "2000-02-29": (951_782_400, 0),
    "9999-12-31": (253402214400, 0),
}
BAD_DATES = [
    "",
    "1125964800",
    "2005-9-6",
    "06.09.2005",
    "2005-09-06 ",
    "2005-09-06T12:00",
    "2005-09-06T12:00:01.",
    "2005-09-06T12:00:01+16:00",
    "2005-09-06T12:00:01+02:60",
    "2005-09-06T12:00:01 CEST",
    "2005-09-06+02:00",
    "2005-02-29",
    "1900-02-29",
    "2005-02-30",
    "2005-04-31",
    "2005-13-01",
    "2005-00-00",
    "2005-09-06 24:00:00",
    "2005-09-06 12:60:00",
    "2016-12-31 23:59:60",
    "12005-09-06",
    "٢٠٠٥-09-06",
]
GOOD_NUMBERS = {
    "1577836800": (1577836800, 0),
    "1577836800.0": (1577836800, 0),
    "1577836800.": (1577836800, 0),
    "1.5778368e9": (1577836800, 0),
    "1.5778368E+09": (1577836800, 0),
    "1577836800.5": (1577836800, 500_000_000),
    "1577836800.000000001": (1577836800, 1),
    "15778368005e-1": (1577836800, 500_000_000),
    "-20": (-20, 0),
    "-0.25": (-1, 750_000_000),
    "-1.25": (-2, 750_000_000),
    "007": (7, 0),
    "+5": (5, 0),
    "+1.25": (1, 250_000_000),
    "1577836800123456789": (1577836800123456789, 0),
    "9223372036854775807": (2**63 - 1, 0),
    "-9223372036854775808": (-(2**63), 0),
}
BAD_NUMBERS = ["", "2005-09-06", "nan", "inf", "1e400", "1e19", "9223372036854775808", "-9223372036854775808.5"]
BAD_NUMBERS += ["9" * 5000, "1e" + "9" * 30, "+-5", "+", "0x1F", "1_000", "1,5", " 7", ".5", "7 s", "٧"]


def read(values: object, text_format: Literal["number", "iso"]) -> list[tuple[int, int] | None]:
    """(whole, billionths) of each value, None where it is refused."""
    column = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    moments, is_bad = parse_timestamps(column, text_format)
    nanos = np.zeros(len(column), int) if moments.nanos is None else moments.nanos
    rows = zip(moments.whole.tolist(), nanos.tolist(), is_bad.tolist(), strict=True)
    return [None if bad else (whole, below) for whole, below, bad in rows]


def test_dates_and_times_are_seconds_of_utc_to_the_billionth():
    assert read([*GOOD_DATES, *GOOD_DATES], "iso") == [*GOOD_DATES.values(), *GOOD_DATES.values()]


@pytest.mark.parametrize("text", BAD_DATES)
def test_what_is_no_date_is_refused_alone(text):
    assert read(["2005-09-06", text, *GOOD_DATES], "iso") == [(MIDNIGHT, 0), None, *GOOD_DATES.values()]


def test_numbers_are_kept_as_they_are_to_the_billionth():
    assert read([*GOOD_NUMBERS, *GOOD_NUMBERS], "number") == [*GOOD_NUMBERS.values(), *GOOD_NUMBERS.values()]


@pytest.mark.parametrize("text", BAD_NUMBERS, ids=lambda text: text[:20])
def test_what_is_no_number_is_refused_alone(text):
    assert read(["7", text, *GOOD_NUMBERS], "number") == [(7, 0), None, *GOOD_NUMBERS.values()]


@given(st.lists(st.datetimes(timezones=st.timezones()), min_size=1, max_size=20))
def test_what_python_writes_with_an_offset_is_the_instant_that_python_means(moments):
    moments = [moment for moment in moments if moment.utcoffset().total_seconds() % 60 == 0]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    expected = []
    for moment in moments:
        since = moment - epoch
        expected.append((since.days * 86_400 + since.seconds, since.microseconds * 1000))
    assert read([moment.isoformat() for moment in moments], "iso") == expected


@pytest.mark.parametrize(
    ("nanos", "ticks"),
    [([0, 0], 1), ([0, 5 * 10**8], 1000), ([1000, 0], 10**6), ([1, 10**6], BILLION), ([10**6, 10**3], 10**6)],
)
def test_parts_of_a_unit_are_as_coarse_as_hold_all(nanos, ticks):
    moments = Moments.of(np.array([-1, 7]), np.array(nanos))
    assert moments.ticks == ticks
    expected = [whole * ticks + below * ticks // BILLION for whole, below in zip([-1, 7], nanos, strict=True)]
    assert moments.in_ticks(ticks).tolist() == expected


def test_a_moment_too_large_for_the_parts_is_told():
    limit = 2**63 // 1000
    assert Moments(np.array([limit - 2, -limit + 1])).in_ticks(1000).tolist() == [
        (limit - 2) * 1000,
        (1 - limit) * 1000,
    ]
    with pytest.raises(OverflowError, match=r"^1$"):
        Moments(np.array([0, limit])).in_ticks(1000)


MICROSECOND = datetime(2005, 9, 6, 12, 0, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([date(2005, 9, 6), None]), (MIDNIGHT, 0)),
        (pa.array([date(2005, 9, 6), None], pa.date64()), (MIDNIGHT, 0)),
        (pa.array([NOON, None], pa.timestamp("s")), (NOON, 0)),
        (pa.array([-1500, None], pa.timestamp("ms")), (-2, 500_000_000)),
        (pa.array([MICROSECOND, None], pa.timestamp("us", "UTC")), (NOON, 5000)),
        (pa.array([MICROSECOND, None], pa.timestamp("us", "Europe/Berlin")), (NOON, 5000)),
        (pa.array([MICROSECOND, None], pa.timestamp("us", "+05:30")), (NOON, 5000)),
        (pa.array([NOON * BILLION + 7, None], pa.timestamp("ns", "America/New_York")), (NOON, 7)),
        (pa.array([NOON * BILLION + 7, None], pa.int64()), (NOON * BILLION + 7, 0)),
        (pa.array([2**31, 2**64 - 1], pa.uint64()), (2**31, 0)),
        (pa.array([float(NOON), None]), (NOON, 0)),
        (pa.array([NOON + 0.123456, float("nan")]), (NOON, 123_456_000)),
        (pa.array([NOON + 0.5, float("inf")]), (NOON, 500_000_000)),
        (pa.array([65536.0, None], pa.float32()), (65536, 0)),
        (pa.array([Decimal("1126008001.250"), None]), (NOON, 250_000_000)),
        (pa.array(["2005-09-06", "x"]).dictionary_encode(), (MIDNIGHT, 0)),
        (pa.array(["2005-09-06T14:00:01+02:00", "x"], pa.large_string()), (NOON, 0)),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_parquet_columns_of_every_type_tell_the_same(tmp_path, array, expected):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user": [1, 2], "item": [1, 2], "rating": [3, 4], "when": array}), path)
    (file,) = find_files("input.paths", [str(path)], FileSettings())
    columns = RatingColumns(user="user", item="item", rating="rating", timestamp="when")
    (block,) = parse_parquet(file, range(1), columns, RatingRules(), "iso")
    nanos = [0] if block.rows.nanos is None else block.rows.nanos.tolist()
    assert block.rows.timestamp is not None
    assert (block.rows.timestamp.tolist(), nanos) == ([expected[0]], [expected[1]])
    assert block.rejects.counts() == {"timestamp is not a date": 1}


def test_text_views_are_text():
    zone = ZoneInfo("Europe/Berlin")
    text = datetime(2024, 5, 2, 12, tzinfo=zone).isoformat()
    assert read(pa.array([text, None], pa.string_view()), "iso") == [(1714644000, 0), None]


def test_a_refused_row_of_parquet_shows_a_moment_that_python_has_no_type_for(tmp_path):
    path = tmp_path / "a.parquet"
    moments = pa.array([NOON * BILLION + 7, 1], pa.timestamp("ns"))
    pq.write_table(pa.table({"user": [None, "u"], "item": [1, 2], "rating": [3, 4], "when": moments}), path)
    (file,) = find_files("input.paths", [str(path)], FileSettings())
    columns = RatingColumns(user="user", item="item", rating="rating", timestamp="when")
    (block,) = parse_parquet(file, range(1), columns, RatingRules())
    assert block.rejects.first() == (1, "empty user id", f",1,3,{NOON}")


@given(
    st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)).map(lambda moment: moment.replace(microsecond=0)),
    st.sampled_from(["", "Z ", "UTC ", "+0000 ", "-0700 ", "+05:30 "]),
    st.booleans(),
)
def test_times_as_c_writes_them_are_the_same_moments(moment, offset, is_padded):
    day = f"{moment.day:2}" if is_padded else f"{moment.day:02}"
    text = f"{moment:%a %b} {day} {moment:%H:%M:%S} {offset}{moment.year}"
    iso = f"{moment.year}-{moment:%m-%d %H:%M:%S}{offset.strip()}"
    found, is_bad = parse_timestamps(pa.array([text, "", text, iso]), "ctime")
    expected, _ = parse_timestamps(pa.array([iso]), "iso")
    assert is_bad.tolist() == [False, True, False, True]
    assert found.whole[[0, 2]].tolist() == expected.whole.tolist() * 2


@pytest.mark.parametrize(
    "text",
    ["Mar 22 18:57:54 2018", "Thu Mar 22 18:57 2018", "Thu Feb 30 18:57:54 2018", "thu Mar 22 18:57:54 2018"],
)
def test_other_texts_than_c_writes_are_refused(text):
    assert parse_timestamps(pa.array([text]), "ctime")[1].tolist() == [True]
