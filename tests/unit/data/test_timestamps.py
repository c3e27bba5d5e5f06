"""Timestamps: whole numbers as they are, dates and times as seconds since 1970, all else refused."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.data.config import RatingRules
from recsys_dist.data.find import find_files
from recsys_dist.data.input_config import FileSettings, RatingColumns
from recsys_dist.data.parquet import parse_parquet
from recsys_dist.data.timestamps import parse_timestamps

NOON = int(datetime(2005, 9, 6, 12, 0, 1, tzinfo=UTC).timestamp())
MIDNIGHT = NOON - 12 * 3600 - 1
GOOD = {
    "2005-09-06": MIDNIGHT,
    "2005-09-06 12:00:01": NOON,
    "2005-09-06T12:00:01": NOON,
    "2005-09-06T12:00:01Z": NOON,
    "2005-09-06T12:00:01.999999999Z": NOON,
    "1969-12-31T23:59:59.5": -1,
    "2004-02-29": MIDNIGHT - 555 * 86400,
    "9999-12-31": 253402214400,
}
BAD = [
    "",
    "1125964800",
    "2005-9-6",
    "06.09.2005",
    "2005-09-06 ",
    "2005-09-06T12:00",
    "2005-09-06T12:00:01+02:00",
    "2005-02-29",
    "2005-13-01",
    "2005-09-06 24:00:00",
    "2005-09-06 12:60:00",
]


def iso(texts: list[str]) -> list[int | None]:
    values, is_bad = parse_timestamps(pa.array(texts, pa.string()), "iso")
    return [None if bad else value for value, bad in zip(values.tolist(), is_bad.tolist(), strict=True)]


def test_dates_and_times_are_seconds_of_utc():
    assert iso([*GOOD, *GOOD]) == [*GOOD.values(), *GOOD.values()]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_date_is_refused_alone(text):
    assert iso(["2005-09-06", text, *GOOD]) == [MIDNIGHT, None, *GOOD.values()]


def test_a_date_is_no_whole_number():
    values, is_bad = parse_timestamps(pa.array(["2005-09-06", "7"]), "number")
    assert (values[1], is_bad.tolist()) == (7, [True, False])


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([date(2005, 9, 6), None]), [MIDNIGHT]),
        (pa.array([date(2005, 9, 6), None], pa.date64()), [MIDNIGHT]),
        (pa.array([-1500, None], pa.timestamp("ms")), [-2]),
        (pa.array([datetime(2005, 9, 6, 12, 0, 1, 5, tzinfo=UTC), None], pa.timestamp("us", "UTC")), [NOON]),
        (pa.array(["2005-09-06", "x"]).dictionary_encode(), [MIDNIGHT]),
    ],
)
def test_dates_and_times_of_parquet(tmp_path, array, expected):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user": [1, 2], "item": [1, 2], "rating": [3, 4], "when": array}), path)
    (file,) = find_files("input.paths", [str(path)], FileSettings())
    columns = RatingColumns(user="user", item="item", rating="rating", timestamp="when")
    (block,) = parse_parquet(file, range(1), columns, RatingRules(), "iso")
    assert block.rows.timestamp is not None
    assert block.rows.timestamp.tolist() == expected
    assert block.rejects.counts() == {"timestamp is not a date": 1}
