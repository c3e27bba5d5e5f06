"""Data without ratings: each row is an interaction, from files, the command line and Python."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from scipy import sparse

import recsys_dist
from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation.inspection.proposal import to_yaml
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.field_cases.inspected import command, inspected, prepared, write_lines
from tests.field_cases.reading import configure, read, sniffed
from tests.support.contents import contents, digests, rejects
from tests.support.inspect_command import cells

NULL = "input.columns={user: user, item: item, rating: null}"
TIMED = "input.columns.rating=null"
ALL_TRAIN = "split={kind: random, test: 0, valid: 0}"
REPEATED = ["a,x,5", "a,y,1", "a,x,2", "b,x,9", "a,x,8", "b,x,9"]
"""User, item and timestamp: a and x three times, b and x twice."""
TIMED_HEADER = "user,item,timestamp"


def values(dataset: Dataset) -> dict[tuple[str, str], float]:
    return {pair: rating for pair, (rating, _, _) in contents(dataset).items()}


@pytest.fixture
def run(address, tmp_path):
    """`prepare` of lines below a header, with more settings."""

    def call(lines, *arguments: object, header: str = TIMED_HEADER, output: str = "out", columns: str = TIMED):
        path = write_lines(tmp_path / f"{output}.csv", lines, header=header)
        shared = ("--config", "prepare_csv", columns, ALL_TRAIN, f"input.paths={path}")
        return prepared(address, tmp_path / output, *shared, *arguments)

    return call


def test_each_row_counts_one(run, capsys):
    dataset = run(REPEATED)
    assert values(dataset) == {("a", "x"): 1.0, ("a", "y"): 1.0, ("b", "x"): 1.0}
    assert {pair: time for pair, (_, time, _) in contents(dataset).items()}["a", "x"] == 8
    manifest = dataset.manifest
    assert (manifest.has_ratings, manifest.rules["feedback"]) == (False, "interactions")
    assert manifest.rows.rejected == {"duplicate": 3}
    assert sorted(text for _, _, text, _ in rejects(dataset)) == ["a,x", "a,x", "b,x"]
    assert (manifest.rating.min, manifest.rating.max, manifest.rating.mean) == (1, 1, 1)
    shown = cells(capsys.readouterr().out)
    assert ["interactions to train", "3"] in shown
    assert ["interactions per pair", "1 to 1, mean 1.0000"] in shown


@pytest.mark.parametrize("rule", ["count", "sum"])
def test_rows_of_a_pair_can_be_counted(run, rule):
    dataset = run(REPEATED, f"ratings.duplicates={rule}")
    assert values(dataset) == {("a", "x"): 3.0, ("a", "y"): 1.0, ("b", "x"): 2.0}
    assert contents(dataset)["a", "x"][1] == 8
    assert dataset.manifest.rows.rejected == {"added to another row of the pair": 3}
    assert dataset.manifest.rating.mean == 2


def test_ratings_can_be_added_up(run):
    columns = "input.columns={user: user, item: item, rating: plays}"
    dataset = run(
        ["a,x,5", "a,y,1.5", "a,x,2.25"], "ratings.duplicates=sum", header="user,item,plays", columns=columns
    )
    assert values(dataset) == {("a", "x"): 7.25, ("a", "y"): 1.5}
    assert dataset.manifest.has_ratings
    assert "feedback" not in dataset.manifest.rules


def test_a_sum_too_large_is_told(address, tmp_path, capsys):
    path = write_lines(tmp_path / "a.csv", ["a,x,3e38", "a,x,3e38", "b,x,1"], header="user,item,rating")
    arguments = ("--config", "prepare_csv", "input.columns={user: user, item: item, rating: rating}")
    more = ("ratings.duplicates=sum", f"output={tmp_path / 'out'}", f"cluster.address={address}")
    assert command("prepare", *arguments, f"input.paths={path}", *more) == 2
    assert "the ratings of item 'x' by user 'a' add up to more than float32 holds" in capsys.readouterr().err


def test_a_repeated_pair_can_be_an_error(address, tmp_path, capsys):
    path = write_lines(tmp_path / "a.csv", REPEATED, header=TIMED_HEADER)
    more = ("ratings.duplicates=error", f"output={tmp_path / 'out'}", f"cluster.address={address}")
    assert command("prepare", "--config", "prepare_csv", NULL, f"input.paths={path}", *more) == 2
    error = capsys.readouterr().err
    assert "twice: " in error
    assert error.endswith("set ratings.duplicates to last, first or count to accept this\n")


def test_held_out_rows_are_counted_alone(address, tmp_path):
    paths = {
        "train": write_lines(tmp_path / "train.csv", ["a,x,1", "a,x,2", "a,y,3", "a,y,4"], header=TIMED_HEADER),
        "test": write_lines(tmp_path / "test.csv", ["a,x,3", "a,x,4", "a,x,5"], header=TIMED_HEADER),
    }
    split = "split=" + json.dumps({"kind": "files", **{name: [str(path)] for name, path in paths.items()}})
    arguments = ("--config", "prepare_csv", TIMED, split, "ratings.duplicates=count")
    dataset = prepared(address, tmp_path / "out", *arguments)
    assert {pair: (value, split) for pair, (value, _, split) in contents(dataset).items()} == {
        ("a", "x"): (3.0, "test"),
        ("a", "y"): (2.0, "train"),
    }
    assert dataset.manifest.rows.rejected == {
        "added to another row of the pair": 3,
        "pair is held out for testing or validation": 2,
    }


@pytest.mark.parametrize("rule", ["count", "last", "first"])
@pytest.mark.parametrize("split", [ALL_TRAIN, "split={kind: time, test: 0.3}"])
def test_what_is_appended_comes_to_what_all_files_at_once_come_to(run, address, tmp_path, rule, split):
    # Later days of known and new pairs, and an earlier one.
    rng = np.random.default_rng(0)
    days = [[f"u{rng.integers(9)},i{rng.integers(12)},{100 * day + n}" for n in range(60)] for day in (1, 2, 0)]
    days[2] = [*days[2][:2], "u1,new,3"]
    rules = (f"ratings.duplicates={rule}", split, "shards.users=2")
    run(days[0], *rules)
    for number in (1, 2):
        more = write_lines(tmp_path / f"more-{number}.csv", days[number], header=TIMED_HEADER)
        dataset = prepared(
            *(address, tmp_path / "out", "--config", "prepare_csv", TIMED, *rules, "--append", more)
        )
        whole = run([line for day in days[: number + 1] for line in day], *rules, output=f"whole-{number}")
        assert contents(dataset) == contents(whole)
        assert dataset.manifest.rows.kept == whole.manifest.rows.kept
        assert dataset.manifest.rules == whole.manifest.rules
        assert dataset.manifest.rating.mean == pytest.approx(whole.manifest.rating.mean, rel=1e-12)


def test_an_earlier_row_adds_to_a_pair_of_the_dataset(run, address, tmp_path):
    """The pair's latest row stays that of the dataset; only its value changes, in both sides' blocks."""
    run(["a,x,5", "b,x,6", "b,y,7"], "ratings.duplicates=count")
    more = write_lines(tmp_path / "more.csv", ["a,x,1"], header=TIMED_HEADER)
    shared = ("--config", "prepare_csv", TIMED, ALL_TRAIN, "ratings.duplicates=count")
    dataset = prepared(address, tmp_path / "out", *shared, "--append", more)
    assert contents(dataset)["a", "x"][:2] == (2.0, 5)
    for side in ("users", "items"):
        blocks = [dataset.block(side, number) for number in range(len(dataset.shards(side)))]
        assert sorted(value for block in blocks for value in block.values.tolist()) == [1.0, 1.0, 2.0]


def test_ratings_and_interactions_do_not_go_together(run, address, tmp_path, capsys):
    run(["a,x,5"])
    more = write_lines(tmp_path / "more.csv", ["a,y,1"], header="user,item,timestamp")
    capsys.readouterr()
    shared = ["prepare", "--config", "prepare_csv", ALL_TRAIN, "--append", more, f"cluster.address={address}"]
    columns = "input.columns={user: user, item: item, rating: timestamp}"
    assert command(*shared, columns, f"output={tmp_path / 'out'}") == 2
    assert capsys.readouterr().err.lstrip() == (
        f"error: input.columns.rating: 'timestamp' here, but {tmp_path}/out was prepared from interactions; "
        "appended rows must follow the same rules\n"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"ratings": {"min": 1}},
            "ratings.min and ratings.max need ratings, but input.columns.rating is null; set both",
        ),
        ({"ratings": {"max": 5}}, "ratings.min and ratings.max need ratings"),
        (
            {"ratings": {"duplicates": "mean"}},
            "ratings.duplicates: mean needs ratings, but input.columns.rating is null",
        ),
        (
            {"rating": "r", "ratings": {"duplicates": "count"}},
            "ratings.duplicates: count is for interactions; set it to s",
        ),
        (
            {"rating": "r", "ratings": {"duplicates": "sum", "max": 5}},
            "sum gives values outside ratings.min and ratings",
        ),
        (
            {"ratings": {"duplicates": "most"}},
            "ratings.duplicates: Input should be 'last', 'first', 'mean', 'sum', 'cou",
        ),
    ],
)
def test_rules_that_do_not_go_with_the_rows_are_told_in_one_line(changes, reason):
    columns = {"user": "u", "item": "i", "rating": changes.pop("rating", None)}
    tree = {"input": {"paths": "a.csv", "columns": columns}, "output": "out", **changes}
    with pytest.raises(ConfigError, match=reason) as told:
        parse_settings(PrepareConfig, tree, "mine.yaml")
    assert "\n" not in str(told.value)


def test_a_column_of_ratings_is_still_required():
    tree = {"input": {"paths": "a.csv", "columns": {"user": "u", "item": "i"}}, "output": "out"}
    with pytest.raises(ConfigError, match=r"key 'input\.columns\.rating' is required"):
        parse_settings(PrepareConfig, tree, "mine.yaml")


def test_no_row_is_an_interaction(tmp_path, address, capsys):
    path = write_lines(tmp_path / "a.csv", ["a,,1", ",x,2"], header=TIMED_HEADER)
    more = (f"input.paths={path}", f"output={tmp_path / 'out'}", f"cluster.address={address}")
    assert command("prepare", "--config", "prepare_csv", NULL, *more) == 2
    assert "none of 2 rows is a valid interaction; empty item id 1, empty user id 1" in capsys.readouterr().err


PAIRS = [(n // 6, n * 7919 % 40) for n in range(120)]


def text(separator: str, header: str = "", seconds: bool = False) -> str:
    rows = ((*pair, 1_100_000_000 + 977 * n)[: 2 + seconds] for n, pair in enumerate(PAIRS))
    names = header and header.replace(",", separator) + "\n"
    return names + "".join(separator.join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::", " "])
@pytest.mark.parametrize("header", ["", "user,item", "userId,movieId"])
@pytest.mark.parametrize("seconds", [False, True])
def test_inspect_finds_that_rows_are_interactions(tmp_path, separator, header, seconds):
    header = header + ",timestamp" * seconds if header else header
    (tmp_path / "a.txt").write_text(text(separator, header, seconds))
    found = sniffed(tmp_path / "a.txt")
    names: list[Any] = header.split(",") if header else [0, 1, 2]
    columns = {"user": names[0], "item": names[1], "rating": None}
    columns |= {"timestamp": names[2]} if seconds else {}
    assert (found.tree["columns"], found.tree["separator"], found.missing) == (columns, separator, ())
    assert not found.has_ratings
    assert any(
        "no column can hold ratings, so each row is taken as an interaction" in one for one in found.remarks
    )
    proposed = yaml.safe_load(to_yaml(found))
    assert parse_settings(PrepareConfig, {**proposed, "output": "o"}, "mine").input.columns.rating is None
    assert "seen in the sample" not in to_yaml(found)


def test_inspect_and_prepare_tell_of_interactions(address, tmp_path, capsys):
    path = tmp_path / "a.tsv"
    path.write_text(text("\t", "user,item"))
    dataset = inspected(address, path, tmp_path, "ratings.duplicates=count")
    assert dataset.manifest.rows.kept == len(set(PAIRS))
    shown = capsys.readouterr().out
    assert ["rows are", "interactions, without ratings"] in cells(shown)
    assert re.search(r"\n    rating: null +# each row is an interaction\n", shown)
    assert "Not found" not in shown
    assert command("inspect", tmp_path / "dataset") == 0
    shown = capsys.readouterr().out
    assert "interactions to train" in shown
    assert "mean ratings" not in shown
    assert "ratings to" not in shown


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("user,item,title\n1,2,A\n2,3,B\n", {"user": "user", "item": "item", "rating": None}),
        ("visitor,item,event\n1,2,view\n2,3,buy\n", {"user": "visitor", "item": "item", "rating": None}),
        (",user,item\n0,1,2\n1,2,3\n", {"user": "user", "item": "item", "rating": None}),
        (
            "user,item,created,updated\n1,2,1100000000,1100000009\n2,3,1100000001,1100000010\n",
            {"user": "user", "item": "item", "rating": None, "timestamp": "created"},
        ),
    ],
)
def test_columns_that_cannot_be_ratings_are_no_ratings(tmp_path, table, columns):
    (tmp_path / "a.csv").write_text(table)
    assert sniffed(tmp_path / "a.csv").tree["columns"] == columns


def test_where_numbers_are_left_inspect_lets_choose(tmp_path):
    rows = "".join(f"u{n},i{n % 7},{n * 37 % 1000 + 200}\n" for n in range(99))
    (tmp_path / "a.csv").write_text("user,item,plays\n" + rows)
    found = sniffed(tmp_path / "a.csv")
    assert found.missing == ("rating",)
    assert '# rating: choose one of "plays", or null if each row is an interaction' in to_yaml(found)
    with pytest.raises(ConfigError, match="set rating=, one of 'plays', or None if each row is an interaction"):
        recsys_dist.prepare(tmp_path / "a.csv", tmp_path / "out")


@pytest.mark.parametrize("write", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_interactions(tmp_path, write):
    path = tmp_path / f"a.{write}"
    if write == "csv":
        path.write_text(text(",", "user,item"))
    elif write == "jsonl":
        path.write_text("".join(json.dumps({"user": user, "item": item}) + "\n" for user, item in PAIRS))
    else:
        user, item = map(list, zip(*PAIRS, strict=True))
        pq.write_table(pa.table({"user": user, "item": item}), path)
    columns = {"user": "user", "item": "item", "rating": None}
    assert read(configure(path, columns)) == ([(str(user), str(item), 1.0) for user, item in PAIRS], [])
    assert sniffed(path).tree["columns"] == columns


def python(address: str, given: Any, output: Path, **arguments: Any) -> Dataset:
    split = {"kind": "random", "test": 0, "valid": 0}
    return recsys_dist.prepare(given, output, split=split, cluster={"address": address}, **arguments)


def test_interactions_from_python(address, tmp_path, run):
    of_file = run(REPEATED, "ratings.duplicates=count")
    user, item, time = zip(*(line.split(",") for line in REPEATED), strict=True)
    table = pa.table({"user": user, "item": item, "when": [int(one) for one in time], "rating": ["bad"] * 6})
    shared = {"timestamp": "when", "rating": None, "ratings": {"duplicates": "count", "max_rejected": 0.01}}
    dataset = python(address, table, tmp_path / "table", **shared)
    assert digests(dataset) == digests(of_file)
    assert not dataset.manifest.has_ratings
    given = {"input": {"columns": {"rating": None, "timestamp": "when"}}}
    again = python(address, table, tmp_path / "again", settings=given, ratings=shared["ratings"])
    assert digests(again) == digests(of_file)


def test_files_from_python_without_ratings(address, tmp_path, caplog):
    (tmp_path / "a.csv").write_text("user,item,stars\n1,2,3\n2,3,4\n")
    assert python(address, tmp_path / "a.csv", tmp_path / "rated").manifest.has_ratings
    dataset = python(address, tmp_path / "a.csv", tmp_path / "plain", rating=None)
    assert values(dataset) == {("1", "2"): 1.0, ("2", "3"): 1.0}
    assert "no column can hold ratings" not in caplog.text
    settings = {"input": {"columns": {"user": "user", "item": "item", "rating": "stars"}}}
    assert not python(
        address, tmp_path / "a.csv", tmp_path / "set", rating=None, settings=settings
    ).manifest.has_ratings


def test_a_table_without_a_column_of_ratings_is_told_what_to_do():
    with pytest.raises(
        ConfigError, match=r"rating: no column 'rating' in the table; .*; rating=None if each row is an"
    ):
        recsys_dist.prepare(pa.table({"user": [1], "item": [2]}), "out")


def test_a_sparse_matrix_holds_ratings_unless_told(address, tmp_path):
    matrix = sparse.csr_array(np.array([[1, 0, 1], [0, 1, 0]]))
    assert python(address, matrix, tmp_path / "rated").manifest.has_ratings
    dataset = python(address, matrix, tmp_path / "plain", rating=None)
    assert not dataset.manifest.has_ratings
    assert values(dataset) == {("0", "0"): 1.0, ("0", "2"): 1.0, ("1", "1"): 1.0}
    matrix.data[0] = 0
    with pytest.raises(
        DataError, match="the sparse matrix stores 1 zeros, and with rating=None every stored entry"
    ):
        python(address, matrix, tmp_path / "zeros", rating=None)


def test_models_of_ratings_refuse_interactions(run, tmp_path):
    dataset = run(REPEATED)
    with pytest.raises(ConfigError, match=r"model\.kind: mf needs ratings, but .* has only interactions"):
        recsys_dist.train(dataset, recsys_dist.MF(factors=2), tmp_path / "run")
