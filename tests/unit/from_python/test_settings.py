"""Arguments of `recsys_dist.prepare` as settings, and what is wrong with them; nothing is prepared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest

import recsys_dist
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.from_python.proposal import file_settings
from recsys_dist.from_python.settings import merged, table_columns, table_settings

TABLE = pa.table({"user": ["a"], "item": ["x"], "rating": [1.0]})


def test_arguments_replace_what_the_settings_say():
    settings = MappingProxyType(
        {"split": {"kind": "random", "seed": 3}, "ratings": MappingProxyType({"min": 1, "max": 5})}
    )

    tree = merged(
        settings, {"split": "time", "overwrite": None}, {"ratings": {"max": np.int64(10)}, "shards": None}
    )

    assert tree == {"split": {"kind": "time"}, "ratings": {"min": 1, "max": 10}}
    assert merged(None, {"output": "x"}, {}) == {"output": "x"}
    assert merged({"items": {"paths": Path("a")}}, {}, {}) == {"items": {"paths": "a"}}


def test_columns_of_a_table_are_as_given_else_as_in_the_settings_else_of_the_same_name():
    tree = {"input": {"columns": {"user": "member", "item": "film", "timestamp": "when"}}}

    assert table_columns({"item": "movie"}, tree) == {
        **{"user": "member", "item": "movie"},
        **{"rating": "rating", "timestamp": "when"},
    }
    assert table_columns({}, {}) == {"user": "user", "item": "item", "rating": "rating"}


def test_a_configuration_for_text_goes_with_a_table_too():
    tree = {"input": {"separator": ";", "header": True, "timestamp_format": "iso"}}

    assert table_settings({"user": "member"}, tree)["input"] == {
        **tree["input"],
        **{"paths": "table", "format": "parquet", "columns": {"user": "user", "rating": None}},
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"raitings": {}}, "prepare has no argument 'raitings'; it has: table, output, user, item, rating"),
        ({"settings": {"raitings": {}}}, "prepare: unknown key 'raitings'; allowed here: input, items, ratings"),
        ({"ratings": {"mim": 1}}, "prepare: unknown key 'ratings.mim'"),
        ({"ratings": 5}, "prepare: ratings: has keys of its own and takes no value"),
        ({"settings": "mine.yaml"}, "settings must be a mapping of keys to values, not a str"),
        ({"settings": {"input": 5}}, "settings: input must be a mapping of keys to values, not 5"),
        ({"settings": {"input": {"columns": {"usr": 1}}}}, "settings: input.columns has the keys user, item"),
        ({"settings": {"input": {"paths": "a.csv"}}}, "settings: input.paths cannot be combined with a table"),
        ({"split": "tomorrow"}, "split.kind: 'tomorrow' is not one of"),
        ({"split": {"kind": "files", "train": "a", "test": "b"}}, "split.kind: files needs input files"),
        ({"split": "time"}, "split.kind time needs timestamps: set"),
        ({"user": "member"}, "user: no column 'member' in the table"),
        ({"user_ids": ["a"]}, "user_ids and item_ids name the rows and columns of a sparse matrix"),
        ({"table": 5}, "table must be a DataFrame of pandas, .* not a int"),
        ({"table": []}, "table must be a DataFrame of pandas, .* not a list"),
        ({"titles": 5}, "titles must be a mapping of items to titles or a table, not a int"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_done(tmp_path, arguments, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        recsys_dist.prepare(**{"table": TABLE, "output": tmp_path / "out", **arguments})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")

    for output, reason in [("file/out", "output: cannot use .*Not a directory"), ("full", "holds other files")]:
        with pytest.raises(ConfigError, match=reason):
            recsys_dist.prepare(TABLE, tmp_path / output)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_table_without_rows_leaves_nothing_behind(tmp_path):
    with pytest.raises(DataError, match=r"^no rows in the table$"):
        recsys_dist.prepare(TABLE.slice(0, 0), tmp_path / "out")
    with pytest.raises(DataError, match=r"^no rows in the titles$"):
        recsys_dist.prepare(TABLE, tmp_path / "out", titles={})
    assert not (tmp_path / "out").exists()


def write(path, text):
    path.write_text(text)
    return str(path)


def test_what_is_not_given_of_files_is_proposed(tmp_path):
    path = write(tmp_path / "a.csv", "who;what;how\n" + "".join(f"u{n % 9};i{n % 7};{n % 5}\n" for n in range(60)))
    told: list[str] = []

    tree = file_settings([path], {"user": "who", "item": 1}, {"ratings": {"max": 5}}, told.append)

    assert tree["input"]["paths"] == [path]
    assert (tree["input"]["separator"], tree["input"]["header"]) == (";", True)
    assert tree["input"]["columns"] == {"user": "who", "item": "what", "rating": "how"}
    assert tree["ratings"] == {"max_rejected": 0.01, "max": 5}
    assert told == [f"{path}: column roles that are guesses, not clear from the names: rating"]


def test_times_of_files_are_read_as_what_they_are(tmp_path):
    lines = "".join(f"u{n % 9},i{n % 7},{n % 5},2020-01-{1 + n % 28:02d}\n" for n in range(60))
    path = write(tmp_path / "a.csv", "user,item,rating,seen\n" + lines)

    tree = file_settings([path], {"timestamp": "seen"}, {}, lambda _: None)

    assert (tree["input"]["columns"]["timestamp"], tree["input"]["timestamp_format"]) == ("seen", "iso")


def test_settings_with_columns_are_complete():
    given = {"input": {"separator": "|", "columns": {"user": 0, "item": 1}}}

    assert file_settings(["nowhere.csv"], {"rating": 2}, given, lambda _: None) == {
        "input": {"separator": "|", "paths": ["nowhere.csv"], "columns": {"user": 0, "item": 1, "rating": 2}}
    }


@pytest.mark.parametrize(
    ("columns", "error", "reason"),
    [
        ({"user": "member"}, ConfigError, "user: .*a.csv has no column 'member'; it has: user, item, plays"),
        (
            {},
            ConfigError,
            "rating: not found among the columns of .*a.csv; set rating=, one of 'plays', or None if",
        ),
    ],
)
def test_columns_of_files_that_are_not_there_are_told(tmp_path, columns, error, reason):
    path = write(
        tmp_path / "a.csv", "user,item,plays\n" + "".join(f"u{n},i{n},{200 + 7 * n}\n" for n in range(30))
    )

    with pytest.raises(error, match=reason):
        file_settings([path], columns, {}, lambda _: None)


def test_no_file_is_left_out_in_silence(tmp_path):
    rows = "".join(f"u{n % 9},i{n % 7},{n % 5}\n" for n in range(60))
    first = write(tmp_path / "a.csv", "user,item,rating\n" + rows)
    second = write(tmp_path / "b.csv", "user;product;rating\nu;i;3\n")

    with pytest.raises(
        DataError, match=r"table: the files differ; settings that fit .*a\.csv do not fit another: .*b\.csv"
    ):
        file_settings([first, second], {}, {}, lambda _: None)
    with pytest.raises(DataError, match=r"table: there is no file nowhere\.csv"):
        file_settings(["nowhere.csv"], {}, {}, lambda _: None)


def test_neither_the_package_nor_prepare_imports_torch():
    program = (
        "import sys, recsys_dist; assert 'numpy' not in sys.modules; recsys_dist.prepare; recsys_dist.Dataset; "
        "assert not {'torch', 'pandas', 'polars'} & sys.modules.keys()"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
