"""Files of JSON Lines as shops and sites ship them, through `inspect` and `prepare`."""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recsys_dist
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation.inspection.json_keys import MAX_KEYS
from recsys_dist.preparation.inspection.proposal import to_yaml
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.field_cases.inspected import command, inspected, prepared, write_lines
from tests.field_cases.reading import configure, parsed_sample, read, sniffed
from tests.support.contents import contents, digests, rejects
from tests.support.inspect_command import cells, inspect

NUM_ROWS = 60
ALL_TRAIN = "split={kind: random, test: 0, valid: 0}"


def amazon(n: int) -> dict[str, Any]:
    """A review of the dumps from 2014 and 2018."""
    return {
        "reviewerID": f"A{n % 7}",
        "asin": f"{n % 11:010}",
        "reviewerName": 'B. "Bee" Jones',
        "helpful": [n % 3, 3],
        "verified": bool(n % 2),
        "reviewText": "Good: 5/5, would {buy} again\n\u2603",
        "overall": float(n % 5 + 1),
        "style": {"Size:": "L"} if n % 3 else None,
        "unixReviewTime": 1252800000 + 86400 * n,
        "reviewTime": "09 13, 2009",
    }


def amazon_2023(n: int) -> dict[str, Any]:
    return {
        **{"rating": float(n % 5 + 1), "title": "Nice", "text": "a, b", "images": [], "asin": f"B{n % 11}"},
        **{"parent_asin": f"P{n % 11}", "user_id": f"AE{n % 7}", "timestamp": 1588687728923 + 1000 * n},
    }


def yelp(n: int) -> dict[str, Any]:
    return {
        **{"review_id": f"r{n}", "user_id": f"u{n % 7}", "business_id": f"b{n % 11}", "stars": n % 5 + 1.0},
        **{"useful": n % 4, "funny": 0, "cool": 0, "text": "Fine.", "date": f"2018-07-07 22:09:{n % 60:02}"},
    }


def goodreads(n: int) -> dict[str, Any]:
    return {
        **{"user_id": f"{n % 7:032x}", "book_id": str(n % 11), "review_id": f"{n:032x}", "rating": n % 6},
        **{"review_text": "", "date_added": f"Thu Mar 22 18:57:{n % 60:02} -0700 2018"},
        **{"date_updated": "Thu Mar 22 18:59:41 -0700 2018", "read_at": "", "n_votes": 0},
    }


def nested(n: int) -> dict[str, Any]:
    return {"user": {"id": n % 7, "name": "x"}, "item": {"id": 2**63 + n % 11}, "value": {"stars": n % 5 + 1}}


SHAPES = {
    "amazon": (amazon, {"user": "reviewerID", "item": "asin", "rating": "overall", "timestamp": "unixReviewTime"}),
    "amazon_2023": (
        amazon_2023,
        {"user": "user_id", "item": "parent_asin", "rating": "rating", "timestamp": "timestamp"},
    ),
    "yelp": (yelp, {"user": "user_id", "item": "business_id", "rating": "stars", "timestamp": "date"}),
    "goodreads": (
        goodreads,
        {"user": "user_id", "item": "book_id", "rating": "rating", "timestamp": "date_added"},
    ),
    "nested": (nested, {"user": "user.id", "item": "item.id", "rating": "value.stars"}),
}


def write(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    path.write_text("".join(json.dumps(row, **options) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_inspect_finds_the_keys(tmp_path, name):
    row, columns = SHAPES[name]
    found = sniffed(write(tmp_path / "reviews.json", [row(n) for n in range(NUM_ROWS)]))
    assert found.tree["format"] == "json"
    assert found.tree["columns"] == columns
    assert found.tree["timestamp_format"] == {"yelp": "iso", "goodreads": "ctime"}.get(name, "number")
    assert (parsed_sample(found).num_good, parsed_sample(found).refused.total()) == (NUM_ROWS, 0)
    assert found.table.total_rows(NUM_ROWS) == NUM_ROWS
    assert "separator" not in to_yaml(found)


def test_goodreads_is_prepared_by_the_proposal(address, tmp_path):
    path = write(tmp_path / "reviews.json", [goodreads(n) for n in range(NUM_ROWS)])
    dataset = inspected(address, path, tmp_path)
    assert dataset.manifest.rows.kept == NUM_ROWS
    assert {time for _, time, _ in contents(dataset).values()} == {1521770220 + n for n in range(60)}


def test_inspect_shows_keys_and_examples(tmp_path, capsys):
    assert inspect(write(tmp_path / "a.jsonl", [nested(n) for n in range(NUM_ROWS)])) == 0
    shown = cells(capsys.readouterr().out)
    assert ["format", "JSON Lines"] in shown
    assert "user.id" in {row[0] for row in shown}


@pytest.mark.parametrize("name", ["ratings.txt", "part-00000", "ratings.csv"])
def test_inspect_recognizes_json_lines_of_any_name_and_prepare_needs_to_be_told(tmp_path, name):
    path = write(tmp_path / name, [yelp(n) for n in range(NUM_ROWS)])
    found = sniffed(path)
    columns = found.tree["columns"]
    assert (found.tree["format"], found.tree["paths"]) == ("json", str(path))
    assert len(read(configure(path, columns, format="json", timestamp_format="iso"))[0]) == NUM_ROWS
    with pytest.raises(
        DataError, match=r"is JSON Lines, which is read if its name ends in \.jsonl, or with format: j"
    ):
        read(configure(path, columns))


def packed(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("reviews.json", data)
    else:
        pack = {
            ".gz": gzip.compress,
            ".bz2": bz2.compress,
            ".zst": lambda raw: pa.compress(raw, "zstd", asbytes=True),
        }
        path.write_bytes(pack[path.suffix.lower()](data))
    return path


@pytest.mark.parametrize("name", ["a.json.gz", "a.jsonl.bz2", "a.ndjson.zst", "a.zip", "A.JSON.GZ"])
def test_packed_files_are_read_in_blocks(tmp_path, name):
    plain = write(tmp_path / "plain.jsonl", [yelp(n) for n in range(NUM_ROWS)])
    path = packed(tmp_path, name, plain.read_bytes())
    columns = {"user": "user_id", "item": "business_id", "rating": "stars"}
    expected = read(configure(plain, columns))
    assert len(expected[0]) == NUM_ROWS
    assert read(configure(path, columns, block_bytes=700)) == expected
    assert read(configure(plain, columns, block_bytes=700))[0] == expected[0]
    assert sniffed(path).tree["columns"]["user"] == "user_id"


def test_rejected_lines_are_kept_with_file_line_and_reason(address, tmp_path):
    rows = [json.dumps(yelp(n)) for n in range(30)]
    rows[3] = rows[3].replace('"u3"', "3.5")
    rows[7] = rows[7][:-1]
    rows[20] = ""
    rows[25] = '{"user_id": "u"}'
    path = write_lines(tmp_path / "a.jsonl", rows[1:], header=rows[0])
    config = {"user": "user_id", "item": "business_id", "rating": "stars"}
    dataset = prepared(
        *(address, tmp_path / "out", "--config", "prepare_csv", f"input.paths={path}", "ratings.max_rejected=1"),
        f"input.columns={json.dumps(config)}",
    )
    assert [(file, line, reason) for file, line, text, reason in rejects(dataset)] == [
        (str(path), 4, "id is neither text nor a whole number"),
        (str(path), 8, "not a JSON object"),
        (str(path), 26, "empty item id"),
    ]
    assert [text for _, _, text, _ in rejects(dataset)] == [
        rows[3][:200] + "…" * (len(rows[3]) > 200),
        rows[7],
        rows[25],
    ]
    assert dataset.manifest.rows.read == 29


ids = st.one_of(
    st.integers(-(2**70), 2**70), st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\0'), max_size=3)
)
ratings = st.one_of(st.none(), st.integers(-9, 9), st.floats(width=32), st.sampled_from(["4.5", "x", "1e1"]))
times = st.one_of(st.none(), st.integers(-(10**12), 10**12), st.sampled_from(["12", "1.5", "x"]))


def csv_text(value: object) -> str:
    return "" if value is None else f'"{value}"'


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(ids, ids, ratings, times), max_size=40), st.booleans(), st.sampled_from([256, 1 << 20]))
def test_json_lines_become_the_dataset_of_the_same_rows_in_csv(address, tmp_path, drawn, is_ascii, block_bytes):
    names = ("user", "item", "rating", "timestamp")
    rows = [*drawn, ("u", "i", 1, 1)]
    write(tmp_path / "a.jsonl", [dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=is_ascii)
    text = "\n".join(",".join(map(csv_text, row)) for row in [names, *rows])
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    found = []
    for name in ("a.jsonl", "a.csv"):
        tree = {
            "input": {
                "paths": str(tmp_path / name),
                "columns": {one: one for one in names},
                "block_bytes": block_bytes,
            },
            "split": {"kind": "random", "test": 0, "valid": 0},
            "output": str(tmp_path / f"{name}.out"),
            "overwrite": True,
            "cluster": {"address": address},
        }
        found.append(_prepare(PrepareConfig.model_validate(tree)))
    of_json, of_csv = found
    assert digests(of_json) == digests(of_csv)
    assert of_json.manifest.rows == of_csv.manifest.rows
    # The header of the CSV file is a line before the rows.
    lines = {(line + 1, reason) for _, line, _, reason in rejects(of_json) if reason != "duplicate"}
    assert lines == {(line, reason) for _, line, _, reason in rejects(of_csv) if reason != "duplicate"}


def _prepare(config: PrepareConfig) -> recsys_dist.Dataset:
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.preparation.prepare import prepare

    prepare(config)
    return Dataset.open(config.output, verify=True)


def test_titles_of_json_lines(address, tmp_path, capsys):
    lines = [
        '{"asin": "i0", "title": "One, \\"two\\"", "also": [1]}',
        '{"asin": "i1", "title": null}',
        '{"asin": "i2"}',
        '{"asin": "i3", "title": 300}',
        '{"asin": "i4", "title": ["x"]}',
        '{"asin": 4.5, "title": "x"}',
        '{"asin": "i5", "title": "\\ud800"}',
        '{"asin": "i6", "title": "six"',
        '{"asin": "i7", "title": "Seven"}',
    ]
    items = write_lines(tmp_path / "meta.json", lines[1:], header=lines[0])
    path = write_lines(tmp_path / "a.csv", [f"u,i{n},1" for n in range(8)], header="user,item,rating")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"input:\n  paths: {path}\n  columns: {{user: user, item: item, rating: rating}}\n"
        f"items:\n  paths: {items}\n  columns: {{item: asin, title: title}}\n"
    )
    dataset = prepared(address, tmp_path / "out", "--config", config, ALL_TRAIN)
    titles = dict(zip(dataset.ids("items").to_pylist(), dataset.titles.to_pylist(), strict=True))
    expected = {"i0": 'One, "two"', "i3": "300", "i7": "Seven"}
    assert titles == {f"i{n}": expected.get(f"i{n}") for n in range(8)}
    told = capsys.readouterr().out
    assert (
        f"4 lines of items.paths cannot be read, so their items have no title; the first is {items} line 5: t"
        in told
    )


def test_a_folder_key_is_a_column_of_json_lines(tmp_path):
    for year in (2019, 2020):
        (tmp_path / f"year={year}").mkdir()
        write(tmp_path / f"year={year}" / "a.jsonl", [{"user": f"u{year}", "item": 1, "rating": 3}])
    rows, rejected = read(configure(tmp_path, {"user": "user", "item": "year", "rating": "rating"}))
    assert (rows, rejected) == ([("u2019", "2019", 3.0), ("u2020", "2020", 3.0)], [])


def test_parts_of_a_folder_may_lack_keys_and_others_are_told(tmp_path):
    write(tmp_path / "a.jsonl", [yelp(n) for n in range(NUM_ROWS)])
    short = [{key: value for key, value in yelp(n).items() if key != "text"} for n in range(3)]
    write(tmp_path / "b.jsonl", short)
    assert sniffed(tmp_path).remarks == ()
    write(tmp_path / "c.jsonl", [{"name": "x"}])
    found = sniffed(tmp_path)
    assert "c.jsonl has no key 'user_id' in its first lines; its keys are: name" in found.remarks[0]
    (tmp_path / "c.jsonl").write_text("user,item,rating\n1,2,3\n")
    assert "c.jsonl is not JSON Lines: none of its first lines is a JSON object" in sniffed(tmp_path).remarks[0]


def test_many_keys_are_not_all_examined(tmp_path):
    rows = [{"user": n, "item": n, "rating": n % 5, "seen": {f"k{n}-{m}": 1 for m in range(9)}} for n in range(99)]
    found = sniffed(write(tmp_path / "a.jsonl", rows))
    assert len(found.columns) == MAX_KEYS
    assert f"only the first {MAX_KEYS} of 894 keys are examined" in found.remarks


@pytest.mark.parametrize(
    ("settings_", "reason"),
    [
        (
            {"format": "json", "columns": {"user": 0, "item": 1, "rating": 2}},
            "columns.user is 0, but format: json needs",
        ),
        (
            {"format": "json", "layout": "netflix", "header": False, "columns": {"user": "u", "rating": "r"}},
            "is for text",
        ),
    ],
)
def test_settings_that_do_not_go_with_json(settings_, reason):
    with pytest.raises(ValueError, match=reason):
        PrepareConfig.model_validate({"input": {"paths": "a.jsonl", **settings_}, "output": "out"})


def test_the_layout_of_netflix_is_refused_for_json(tmp_path):
    path = write(tmp_path / "a.jsonl", [yelp(0)])
    config = configure(path, {"user": 0, "rating": 1}, layout="netflix", header=False)
    with pytest.raises(DataError, match=r"a\.jsonl is JSON, but layout: netflix is for text"):
        read(config)


def test_files_of_json_lines_from_python(address, tmp_path):
    path = write(tmp_path / "a.jsonl", [yelp(n) for n in range(NUM_ROWS)])
    dataset = recsys_dist.prepare(path, tmp_path / "out", cluster={"address": address})
    assert dataset.manifest.rows.kept == NUM_ROWS
    with pytest.raises(ConfigError, match=r"user: .* has no column 'who'"):
        recsys_dist.prepare(path, tmp_path / "other", user="who", cluster={"address": address})


def test_more_is_appended_in_another_format(address, tmp_path):
    first = write(tmp_path / "a.jsonl", [nested(n) for n in range(20)])
    more = write_lines(tmp_path / "b.csv", ["9,9,5"], header="user.id,item.id,value.stars")
    columns = 'input.columns={"user": "user.id", "item": "item.id", "rating": "value.stars"}'
    shared = ("--config", "prepare_csv", columns)
    prepared(address, tmp_path / "out", *shared, f"input.paths={first}")
    dataset = prepared(address, tmp_path / "out", *shared, "--append", more)
    assert contents(dataset)["9", "9"][0] == 5.0
    assert dataset.num_users == 8


def test_the_command_says_in_one_line_that_an_array_is_to_be_converted(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps([yelp(n) for n in range(5)], indent=1))
    assert command("inspect", tmp_path / "a.json") == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/a.json is a JSON array, not one object a line, which is not read; write one object a "
        "line, for example with jq -c '.[]' FILE > ratings.jsonl\n"
    )
