"""Titles from damaged files, and what the summary of `prepare` says of ids that do not fit together."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.preparation.spellings import Spellings, find_spellings, usual_forms
from tests.field_cases.inspected import FIELD_CASES, prepared, write_lines

UNREAD = "of items.paths cannot be read, so their items have no title; the first is "
RATED = [f"u{place},i{place % 5 + 1},{place % 5 + 1}" for place in range(20)]


@pytest.fixture
def run(address, tmp_path, capsys):
    """`prepare` of ratings (and items), and what it prints; `titles` by item id."""

    def call(ratings, items=None, item="ISBN", title="Book-Title", output="dataset", more=(), **shape):
        path = write_lines(tmp_path / f"{output}.csv", ratings, header="user,item,rating")
        config = tmp_path / f"{output}.yaml"
        text = f"input:\n  paths: {path}\n  columns: {{user: user, item: item, rating: rating}}\n"
        if items is not None:
            text += f"items:\n  paths: {items}\n  columns: {{item: {item}, title: {title}}}\n"
            text += "".join(f"  {key}: {value}\n" for key, value in shape.items())
        config.write_text(text)
        dataset = prepared(address, tmp_path / output, "--config", config, *more)
        titles = dict(zip(dataset.ids("items").to_pylist(), dataset.titles.to_pylist(), strict=True))
        return titles, capsys.readouterr().out

    return call


def test_book_crossing_titles_with_escapes(run):
    titles, output = run(RATED, FIELD_CASES / "bx_books.csv", separator="';'", escape="'\\'", encoding="latin-1")
    assert titles == {
        "i1": 'Adventures with the Real "J. P" Through Life',
        "i2": 'A "B; C" D',
        "i3": "Plain",
        "i4": "",
        "i5": 'café " quoted',
    }
    assert "cannot be read" not in output


def test_a_title_that_cannot_be_read_is_null_and_counted(run):
    titles, output = run(RATED, FIELD_CASES / "bx_books.csv", separator="';'")
    assert titles == {"i1": None, "i2": None, "i3": "Plain", "i4": "", "i5": None}
    assert f"3 lines {UNREAD}{FIELD_CASES / 'bx_books.csv'} line 2: stray quote in a field" in output


def test_the_count_of_titles_is_of_all_files(run, tmp_path):
    first = write_lines(tmp_path / "t1.csv", ["i1,One", "i2,Two,too many"], header="id,name")
    second = write_lines(tmp_path / "t2.csv", ['i2,"Two', "i3,Three"], header="id,name")
    titles, output = run(RATED, f"[{first}, {second}]", "id", "name")
    assert titles == {"i1": "One", "i2": None, "i3": "Three", "i4": None, "i5": None}
    assert f"2 lines {UNREAD}{first} line 3: wrong number of fields: 'i2,Two,too many'" in output


def test_a_title_of_parquet_that_is_no_text_is_null_and_counted(run, tmp_path):
    texts = pa.array([b"One", b"Tw\xe9", b"Three"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": ["i1", "i2", "i3"], "name": texts}), tmp_path / "t.parquet")
    titles, output = run(RATED, tmp_path / "t.parquet", "id", "name")
    assert titles == {"i1": "One", "i2": None, "i3": "Three", "i4": None, "i5": None}
    assert f"1 line {UNREAD}{tmp_path}/t.parquet row 2: not valid in the encoding" in output


def test_items_files_of_other_ids_are_told(run, tmp_path):
    items = write_lines(tmp_path / "t.csv", [f"tt{place:07},Film" for place in range(50)], header="id,name")
    titles, output = run(RATED, items, "id", "name")
    assert set(titles.values()) == {None}
    told = "no item of the ratings has a title: ids in items.paths look like 'tt0000000', ids in the ratings like "
    assert f"{told}'i1'" in output


def test_items_files_that_hardly_match_are_told(run, tmp_path):
    ratings = [f"u{place % 40},{place},4" for place in range(400)]
    items = write_lines(tmp_path / "t.csv", ["7,Seven", *(f"x{n},Film" for n in range(400))], header="id,name")
    _, output = run(ratings, items, "id", "name")
    assert "only 1 of 400 items of the ratings has a title: ids in items.paths look like 'x0'" in output


@pytest.mark.parametrize("num_titles", [3, 5])
def test_a_few_titles_that_match_are_nothing_to_tell(run, tmp_path, num_titles):
    items = write_lines(
        tmp_path / "t.csv", [f"i{place + 1},Film" for place in range(num_titles)], header="id,name"
    )
    _, output = run([f"u{n},i{n},5" for n in range(400)], items, "id", "name")
    assert "Note:" not in output


def test_two_ways_to_write_ids_are_told_and_kept_apart(run):
    ratings = [f"{user},{item},4" for user in ("1", "1.0", "2", "2.0", "3") for item in ("007", "7", "x")]
    titles, output = run(ratings)
    assert set(titles) == {"007", "7", "x"}
    assert (
        "2 user ids are spelled in more than one way, such as '1' and '1.0'; the spellings are kept as different "
        "users" in output
    )
    assert (
        "1 item id is spelled in more than one way, such as '7' and '007'; the spellings are kept as different "
        "items" in output
    )


def test_the_count_does_not_depend_on_shards_and_blocks(run):
    ratings = [f"{user},{item},4" for user in range(300) for item in ("a", "b")]
    ratings += [f"{user}.0,a,4" for user in range(0, 300, 3)]
    told = "100 user ids are spelled in more than one way, such as '0' and '0.0'"
    for number, shards in enumerate((1, 7, 64)):
        _, output = run(ratings, output=f"d{number}", more=[f"shards.users={shards}", "input.block_bytes=4096"])
        assert told in output


def test_an_addition_tells_of_ids_that_it_writes_otherwise(run, address, tmp_path, capsys):
    run([f"{user},a,4" for user in range(9)])
    more = write_lines(tmp_path / "more.csv", ["3.0,a,4", "4.0,a,4"], header="user,item,rating")
    prepared(address, tmp_path / "dataset", "--config", tmp_path / "dataset.yaml", "--append", more)
    assert "2 user ids are spelled in more than one way, such as '3' and '3.0'" in capsys.readouterr().out


FORMS = {
    "7": "7",
    "007": "7",
    "7.0": "7",
    "7.": "7",
    "+7": "7",
    " 7": "7",
    "7 ": "7",
    "\t7.00": "7",
    "-7.0": "-7",
    "-07": "-7",
    "000": "0",
    "-0": "0",
    "-0.0": "0",
    "1e+05": "100000",
    "1.234567E+06": "1234567",
    "1.25e+01": "1.25e+01",
    "1e5": "1e5",
    "7.5": "7.5",
    "0x7": "0x7",
    " u 1 ": "u 1",
    "é": "é",
    "9" * 100 + ".0": "9" * 100,
}


def test_the_usual_form_of_an_id():
    assert usual_forms(pa.array([*FORMS])).to_pylist() == [*FORMS.values()]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["1", "2", "u", "1x"], None),
        (["1.0", "2.0", "03"], None),
        (["1", "1.0"], Spellings(1, ("1", "1.0"))),
        (["01", "1.0"], Spellings(1, ("01", "1.0"))),
        (["1", "01", "1.0", "001", "2"], Spellings(1, ("1", "01"))),
        (["100000", "1e+05", "7", "7.0"], Spellings(2, ("100000", "1e+05"))),
        (["u ", "u", "v"], Spellings(1, ("u", "u "))),
        (["1e5", "100000", "1.5", "01.5"], None),
    ],
)
def test_ids_are_counted_however_they_come_in_batches(ids, expected):
    for size in (1, 2, len(ids)):
        batches = [pa.array(ids[start : start + size]) for start in range(0, len(ids), size)]
        assert find_spellings(partial(iter, batches)) == expected


def test_no_batch_at_all_holds_no_spellings():
    assert find_spellings(list) is None


def test_a_library_user_is_told_by_the_log(address, tmp_path, caplog):
    from recsys_dist.preparation.prepare import prepare
    from recsys_dist.preparation.settings.prepare import PrepareConfig

    path = write_lines(tmp_path / "a.csv", ["1,a,4", "1.0,a,4"], header="user,item,rating")
    columns = {"user": "user", "item": "item", "rating": "rating"}
    tree = {"input": {"paths": str(path), "columns": columns}, "split": {"kind": "random", "test": 0, "valid": 0}}
    tree |= {"output": str(tmp_path / "d"), "cluster": {"address": address}}
    prepare(PrepareConfig.model_validate(tree))
    assert "1 user id is spelled in more than one way" in caplog.text
