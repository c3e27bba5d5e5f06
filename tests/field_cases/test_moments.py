"""Of two ratings of one pair the newest is kept, however a file tells the time; where it cannot, that is said."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.dataset.dataset import Dataset
from tests.field_cases.inspected import FIELD_CASES, command, inspected, prepared, write_lines
from tests.support.contents import contents, rejects

ALL_TRAIN = ("split.kind=random", "split.test=0", "split.valid=0")
SECOND = 1_714_644_000
BILLION = 10**9
NAMED = ("input.columns.user=user", "input.columns.item=item", "input.columns.rating=rating")
TIMED = (*NAMED, "input.columns.timestamp=timestamp")


def parquet(path, moments, **columns):
    """Two ratings of one pair, the first of them newer, and one of another."""
    names = {"user": ["u", "u", "v"], "item": ["a", "a", "a"], "rating": [5.0, 1.0, 3.0]}
    pq.write_table(pa.table({**names, "timestamp": moments, **columns}), path)
    return path


def newest(dataset: Dataset) -> tuple[float, int]:
    """Rating and timestamp of the pair that is rated twice."""
    rating, timestamp, _ = contents(dataset)["u", "a"]
    return rating, timestamp


@pytest.mark.parametrize(
    ("name", "pair", "timestamp"),
    [
        ("newest_first_zone.csv", ("u1", "a"), SECOND),
        ("newest_first_float.csv", ("u1", "a"), SECOND),
        ("parquet/newest_Europe_Berlin.parquet", ("u1", "a"), 5),
    ],
)
def test_the_newest_rating_of_the_reported_files_is_kept(address, tmp_path, name, pair, timestamp):
    dataset = inspected(address, FIELD_CASES / name, tmp_path, *ALL_TRAIN)
    rating, kept, _ = contents(dataset)[pair]
    assert (rating, kept) == (5.0, timestamp)
    assert dataset.manifest.rows.rejected == {"duplicate": 1}


TEXTS = [
    # newer, older, what is kept of the newer, and in which parts of a second
    ("2024-05-02T10:00:00Z", "2024-05-02T09:59:59Z", SECOND, 1),
    # Later on the clock, and earlier in the world.
    ("2024-05-02T10:00:00+00:00", "2024-05-02T11:00:00+02:00", SECOND, 1),
    ("2024-05-02T02:00:00-08:00", "2024-05-02 09:59:59", SECOND, 1),
    ("2024-05-02 15:30:00 +0530", "2024-05-02 09:00:00 UTC", SECOND, 1),
    ("2024-05-02 10:00:00.5", "2024-05-02 10:00:00.25", SECOND * 1000 + 500, 1000),
    ("2024-05-02T10:00:00.000001Z", "2024-05-02T10:00:00Z", SECOND * 10**6 + 1, 10**6),
    ("2024-05-02T10:00:00.000000002Z", "2024-05-02T10:00:00.000000001Z", SECOND * BILLION + 2, BILLION),
    ("2024-05-02T12:00:00.002+02:00", "2024-05-02T10:00:00.001Z", SECOND * 1000 + 2, 1000),
    ("1969-12-31T23:59:59.75Z", "1969-12-31T23:59:59.25Z", -250, 1000),
    ("1714644000", "1714643999", SECOND, 1),
    ("+1714644000", "1714643999", SECOND, 1),
    ("+1714644000.5", "+1714644000.25", SECOND * 1000 + 500, 1000),
    ("1714644000.0", "1714643999.0", SECOND, 1),
    ("1.714644e9", "1714643999", SECOND, 1),
    ("1714644000.5", "1714644000.25", SECOND * 1000 + 500, 1000),
    ("1714644000.000002", "1714644000.000001", SECOND * 10**6 + 2, 10**6),
    ("1714644000001", "1714644000000", SECOND * 1000 + 1, 1),
    ("1714644000000001", "1714644000000000", SECOND * 10**6 + 1, 1),
    ("1714644000000000001", "1714644000000000000", SECOND * BILLION + 1, 1),
]


@pytest.mark.parametrize(("newer", "older", "kept", "ticks"), TEXTS)
def test_the_newest_of_text_is_kept_by_what_inspect_proposes(address, tmp_path, newer, older, kept, ticks):
    path = write_lines(tmp_path / "a.csv", [f"u,a,5,{newer}", f"u,a,1,{older}", f"v,a,3,{older}"])
    dataset = inspected(address, path, tmp_path, *ALL_TRAIN)
    assert newest(dataset) == (5.0, kept)
    assert dataset.manifest.timestamp_ticks == ticks


def moments(unit, zone=None, step=1):
    """Two moments one step apart, the newer first."""
    ticks = {"s": 1, "ms": 1000, "us": 10**6, "ns": BILLION}[unit]
    newer = SECOND * ticks + step
    return pa.array([newer, newer - step, newer - step], pa.timestamp(unit, zone))


COLUMNS = [
    (moments("s"), SECOND + 1, 1),
    (moments("ms", "UTC"), SECOND * 1000 + 1, 1000),
    (moments("ms", "UTC", step=1000), SECOND + 1, 1),
    (moments("us", "Europe/Berlin"), SECOND * 10**6 + 1, 10**6),
    (moments("ns", "America/New_York"), SECOND * BILLION + 1, BILLION),
    (moments("ns", "+05:30", step=1000), SECOND * 10**6 + 1, 10**6),
    (pa.array([19_846, 19_845, 19_845], pa.date32()), 19_846 * 86_400, 1),
    (pa.array([19_846 * 86_400_000, 19_845 * 86_400_000, 0], pa.date64()), 19_846 * 86_400, 1),
    (pa.array([SECOND * BILLION + 1, SECOND * BILLION, SECOND * BILLION]), SECOND * BILLION + 1, 1),
    (pa.array([SECOND + 0.5, SECOND + 0.25, SECOND]), SECOND * 1000 + 500, 1000),
    (pa.array([SECOND * 1.0, SECOND - 1.0, SECOND - 2.0]), SECOND, 1),
    (pa.array([Decimal(SECOND), Decimal(SECOND - 1), Decimal(0)]), SECOND, 1),
    (pa.array(["2024-05-02T10:00:00Z", "2024-05-02T11:00:00+02:00"] * 2)[:3].dictionary_encode(), SECOND, 1),
    (pa.array(["2024-05-02T10:00:00Z", "2024-05-02T11:00:00+02:00"] * 2, pa.large_string())[:3], SECOND, 1),
    (moments("us", "UTC").dictionary_encode(), SECOND * 10**6 + 1, 10**6),
]


@pytest.mark.parametrize(("column", "kept", "ticks"), COLUMNS, ids=[str(row[0].type) for row in COLUMNS])
def test_the_newest_of_parquet_is_kept_by_what_inspect_proposes(address, tmp_path, column, kept, ticks):
    dataset = inspected(address, parquet(tmp_path / "a.parquet", column), tmp_path, *ALL_TRAIN)
    assert newest(dataset) == (5.0, kept)
    assert dataset.manifest.timestamp_ticks == ticks


def test_what_tells_no_moment_is_set_aside(address, tmp_path):
    bad = ["2024-02-30T10:00:00Z", "2016-12-31T23:59:60Z", "2024-05-02T24:00:00Z", "1714644000", "02.05.2024", ""]
    lines = ["u,a,5,2024-05-02T10:00:00Z", *(f"w{place},a,1,{text}" for place, text in enumerate(bad))]
    path = write_lines(tmp_path / "a.csv", lines)
    config = write_config(tmp_path, path, "iso")
    dataset = prepared(address, tmp_path / "dataset", "--config", config, *ALL_TRAIN)
    assert contents(dataset) == {("u", "a"): (5.0, SECOND, "train")}
    assert [row[1::2] for row in rejects(dataset)] == [(line, "timestamp is not a date") for line in range(3, 9)]


def write_config(folder, paths, timestamp_format, split="random"):
    """Settings of a preparation, as a user writes them."""
    path = folder / f"{timestamp_format}-{split}.yaml"
    path.write_text(
        f"input:\n  paths: {paths}\n  columns: {{user: user, item: item, rating: rating, timestamp: timestamp}}\n"
        f"  timestamp_format: {timestamp_format}\nsplit:\n  kind: {split}\n"
    )
    return path


def test_files_of_whole_and_of_parts_of_seconds_are_one_time(address, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    write_lines(folder / "a.csv", ["u,a,5,2024-05-02T10:00:00.000002Z", "v,a,3,2024-05-02T10:00:00Z"])
    write_lines(folder / "b.csv", ["u,a,1,2024-05-02T10:00:00Z", "w,a,2,9999-12-31"])
    parquet(folder / "c.parquet", moments("ms"))
    dataset = prepared(address, tmp_path / "d", "--config", write_config(tmp_path, folder, "iso"), *ALL_TRAIN)
    assert dataset.manifest.timestamp_ticks == 10**6
    assert {pair: row[:2] for pair, row in contents(dataset).items()} == {
        ("u", "a"): (5.0, SECOND * 10**6 + 1000),
        ("v", "a"): (3.0, SECOND * 10**6),
        ("w", "a"): (2.0, 253_402_214_400 * 10**6),
    }


@pytest.mark.parametrize("block_bytes", [256, 1 << 20])
def test_a_moment_beyond_what_the_others_need_is_set_aside(address, tmp_path, capsys, block_bytes):
    lines = [f"u{place},i{place % 4},{place % 5 + 1},2024-05-02T10:00:{place:02}Z" for place in range(40)]
    lines[7] = "u7,i3,3,2024-05-02T10:00:07.000000001Z"
    lines[20] = "far,only,3.5,9999-12-31"
    lines[21] = "no date,i1,2,2024-02-30"
    lines[22] = "u0,i0,5,1600-01-01T00:00:00Z"
    config = write_config(tmp_path, write_lines(tmp_path / "a.csv", lines), "iso")
    dataset = prepared(address, tmp_path / "d", "--config", config, f"input.block_bytes={block_bytes}")
    assert [row[1:] for row in rejects(dataset)] == [
        (22, "far,only,3.5", "timestamp out of range"),
        (23, "no date,i1,2,2024-02-30", "timestamp is not a date"),
        (24, "u0,i0,5", "timestamp out of range"),
    ]
    assert "only" not in dataset.ids("items").to_pylist()
    assert "far" not in dataset.ids("users").to_pylist()
    found = {pair: row[1] for pair, row in contents(dataset).items()}
    assert len(found) == 37
    assert found["u7", "i3"] == (SECOND + 7) * BILLION + 1
    assert command("inspect", tmp_path / "d") == 0
    assert "in units of 1/1,000,000,000 of the input's unit" in " ".join(capsys.readouterr().out.split())


def test_a_moment_that_fits_nothing_is_set_aside_alone(address, tmp_path):
    lines = [
        "u,a,5,2024-05-02T10:00:00Z",
        "v,a,4,9999-12-31T23:59:59.999999999Z",
        "w,a,3,9999-12-31T23:59:59.999Z",
    ]
    config = write_config(tmp_path, write_lines(tmp_path / "a.csv", lines), "iso")
    dataset = prepared(address, tmp_path / "d", "--config", config, *ALL_TRAIN)
    assert [row[1::2] for row in rejects(dataset)] == [(3, "timestamp out of range")]
    assert dataset.manifest.timestamp_ticks == 1000


def test_a_known_moment_that_what_is_added_leaves_no_room_for_is_named(address, tmp_path, capsys):
    first = write_lines(tmp_path / "a.csv", ["u,a,5,2024-05-02T10:00:00Z", "v,a,3,9999-12-31"])
    more = write_lines(tmp_path / "b.csv", ["u,a,4,2024-05-02T10:00:00.000000001Z"])
    config, output = write_config(tmp_path, first, "iso"), tmp_path / "d"
    digest = prepared(address, output, "--config", config, *ALL_TRAIN).digest
    arguments = (
        "--config",
        config,
        *ALL_TRAIN,
        f"output={output}",
        f"cluster.address={address}",
        "--append",
        more,
    )
    assert command("prepare", *arguments) == 2
    assert "timestamp 253402214400 is too large for the resolution of" in capsys.readouterr().err
    assert Dataset.open(str(output), verify=True).digest == digest


def test_parquet_without_rows_is_one_line(address, tmp_path, capsys):
    path = parquet(tmp_path / "a.parquet", moments("ns"))
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    config, output = write_config(tmp_path, path, "iso"), tmp_path / "d"
    assert command("prepare", "--config", config, f"output={output}", f"cluster.address={address}") == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: the input has no rows"


def test_a_split_by_time_counts_seconds_whatever_parts_of_them_are_kept(address, tmp_path):
    lines = [f"u{place},a,5,2024-05-02T10:00:{place:02}.500Z" for place in range(10)]
    lines += [f"v{place},a,5,2024-05-02T10:00:{place:02}Z" for place in range(10)]
    config = write_config(tmp_path, write_lines(tmp_path / "a.csv", lines), "iso", split="time")
    start = (f"split.test_from={SECOND + 8}", f"split.valid_from={SECOND + 6}")
    dataset = prepared(address, tmp_path / "d", "--config", config, *start)
    split = {pair[0]: row[2] for pair, row in contents(dataset).items()}
    expected = ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
    assert [split[f"u{place}"] for place in range(10)] == [split[f"v{place}"] for place in range(10)] == expected
    assert dataset.manifest.split.rule["test_from"] == (SECOND + 8) * 1000


@pytest.mark.parametrize("split", ["random", "time"])
def test_what_is_added_may_need_smaller_parts_or_larger(address, tmp_path, split):
    """Two additions come to what all files at once come to."""
    days = [
        [f"u{n},a{n % 3},{n % 5 + 1},2024-05-02T10:00:{n:02}Z" for n in range(30)],
        ["u1,a1,5,2024-05-02T10:00:01.000001Z", "u2,a2,5,2024-05-02T10:00:01.999999Z"],
        ["u1,a1,4,2024-05-02T10:00:01Z", "u9,a0,4,2024-05-02T10:00:09.5Z", "new,a0,4,2024-05-02T10:01:00Z"],
    ]
    paths = [write_lines(tmp_path / f"{place}.csv", lines) for place, lines in enumerate(days)]
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    config = write_config(tmp_path, paths[0], "iso", split)
    prepared(address, grown, "--config", config)
    for path in paths[1:]:
        dataset = prepared(address, grown, "--config", config, "--append", path)
    at_once = prepared(address, whole, "--config", config, f"input.paths=[{', '.join(map(str, paths))}]")
    assert contents(dataset) == contents(at_once)
    assert contents(dataset)["u1", "a1"][:2] == (5.0, SECOND * 10**6 + 1_000_001)
    assert dataset.manifest.timestamp_ticks == at_once.manifest.timestamp_ticks == 10**6


def test_whole_seconds_are_kept_as_they_always_were(address, tmp_path):
    path = write_lines(tmp_path / "a.csv", ["u,a,5,1714644000.0", "v,a,3,1714644001"])
    dataset = prepared(address, tmp_path / "d", "--config", write_config(tmp_path, path, "number"), *ALL_TRAIN)
    assert dataset.manifest.rules is not None
    assert "timestamp_ticks" not in dataset.manifest.rules
    assert contents(dataset)["u", "a"] == (5.0, SECOND, "train")


MIXED = ("2024-05-02T10:00:00Z", "1714644000")
UNUSED = [
    # header, its values in two rows, and why the column is not used
    (
        "timestamp",
        ("5 May 2024", "6 May 2024"),
        "its values, such as '5 May 2024', are neither all numbers nor all dates",
    ),
    (
        "reviewDate",
        ("05/02/2024", "05/03/2024"),
        "its values, such as '05/02/2024', are neither all numbers nor all dates",
    ),
    ("timestamp", MIXED, f"its values, such as '{MIXED[0]}', are neither all numbers nor all dates"),
    ("date", ("", ""), "it is empty"),
    ("unix_time", ("12,5", "13,5"), "its values, such as '12,5', are neither all numbers nor all dates"),
    ("release_date", ("1995", "1996"), "its values, such as '1995', are outside the range of plausible times"),
]


@pytest.mark.parametrize(("name", "values", "reason"), UNUSED)
def test_a_column_named_after_time_is_not_dropped_in_silence(tmp_path, capsys, name, values, reason):
    lines = [f'u{place},i{place % 3},{place % 5 + 1},"{values[place % 2]}"' for place in range(20)]
    path = write_lines(tmp_path / "a.csv", lines, header=f"user,item,rating,{name}")
    assert command("inspect", path, "--output", tmp_path / "a.yaml") == 0
    assert f"the column '{name}' is not used as timestamp: {reason}" in capsys.readouterr().out
    assert "timestamp:" not in (tmp_path / "a.yaml").read_text()


def test_of_two_columns_of_time_the_other_is_told(tmp_path, capsys):
    lines = [
        f"u{place},i{place % 3},{place % 5 + 1},2024-05-0{place % 9 + 1},{SECOND + place}" for place in range(20)
    ]
    path = write_lines(tmp_path / "a.csv", lines, header="user,item,rating,date,timestamp")
    assert command("inspect", path) == 0
    output = capsys.readouterr().out
    assert "the column 'date' is not used as timestamp: 'timestamp' is" in output
    assert 'timestamp: "timestamp"' in output


@pytest.mark.parametrize(
    ("ticks", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (BILLION, "nanoseconds")]
)
@pytest.mark.parametrize("header", ["user,item,rating,timestamp", "user,item,rating,event_ts"])
def test_the_unit_is_guessed_by_size_and_said(tmp_path, capsys, ticks, unit, header):
    lines = [f"u{place},i{place % 3},{place % 5 + 1},{SECOND * ticks + place}" for place in range(20)]
    path = write_lines(tmp_path / "a.csv", lines, header=header)
    assert command("inspect", path, "--output", tmp_path / "a.yaml") == 0
    assert f"the timestamps are {unit} since 1970, by their size" in capsys.readouterr().out
    (line,) = [line for line in (tmp_path / "a.yaml").read_text().splitlines() if "timestamp:" in line]
    assert line.endswith(f"{unit} since 1970, by their size")


def test_ids_as_large_as_nanoseconds_are_no_timestamps(tmp_path, capsys):
    lines = [f"{1_234_567_890_123_456_789 + place * 977},{place % 7},{place % 5 + 1}" for place in range(40)]
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert command("inspect", path, "--output", tmp_path / "a.yaml") == 0
    assert "timestamp:" not in (tmp_path / "a.yaml").read_text()
    assert "Not found" not in capsys.readouterr().out


def test_units_that_are_mixed_are_told(address, tmp_path, capsys):
    lines = [f"u{place},i,{place % 5 + 1},{(SECOND + place) * (1000 if place > 5 else 1)}" for place in range(20)]
    path = write_lines(tmp_path / "a.csv", lines)
    assert command("inspect", path) == 0
    assert "seem to mix seconds and milliseconds since 1970" in capsys.readouterr().out
    more = write_lines(tmp_path / "b.csv", [f"u,i,5,{SECOND}"])
    other = write_lines(tmp_path / "c.csv", [f"u,i,5,{SECOND * 1000}"])
    config = write_config(tmp_path, f"[{more}, {other}]", "number")
    prepared(address, tmp_path / "d", "--config", config, *ALL_TRAIN)
    told = f"by their size, timestamps are seconds in {more} and milliseconds in {other}, all since 1970"
    assert told in capsys.readouterr().out


def test_an_addition_in_another_unit_is_told(address, tmp_path, capsys):
    first = write_lines(tmp_path / "a.csv", [f"u{place},i,5,{SECOND}" for place in range(9)])
    more = write_lines(tmp_path / "b.csv", [f"u{place},i,4,{SECOND * 1000}" for place in range(9)])
    config, output = write_config(tmp_path, first, "number"), tmp_path / "d"
    prepared(address, output, "--config", config)
    prepared(address, output, "--config", config, "--append", more)
    assert f"seconds in {output} and milliseconds in {more}" in capsys.readouterr().out


def test_a_proposal_with_a_long_name_is_yaml(address, tmp_path):
    """A comment behind a long name is parted from it."""
    name = "the_moment_at_which_it_was_rated_date"
    lines = [f"u{place},i{place % 3},{place % 5 + 1},2024-05-02" for place in range(20)]
    path = write_lines(tmp_path / "a.csv", lines, header=f"user,item,rating,{name}")
    dataset = inspected(address, path, tmp_path, *ALL_TRAIN)
    midnight = int(np.datetime64("2024-05-02", "s").astype(np.int64))
    assert {row[1] for row in contents(dataset).values()} == {midnight}
