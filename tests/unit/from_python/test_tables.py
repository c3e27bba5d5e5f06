"""Tables of Arrow and SciPy, and titles, up to the batches that a preparation is handed; without workers."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import sparse

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.from_python import matrices, tables
from recsys_dist.from_python.chosen import table_rows
from recsys_dist.from_python.fields import Column
from recsys_dist.from_python.matrices import matrix_table
from recsys_dist.from_python.tables import as_table
from recsys_dist.from_python.titles import title_rows

NAMES: dict[Any, Any] = {"user": "user", "item": "item", "rating": "rating"}
BERLIN = datetime.timezone(datetime.timedelta(hours=1))


def table_of(given: Any) -> Any:
    """What is taken for a table."""
    return as_table(given)


def arrow(**columns):
    return pa.table({"user": ["a", "b"], "item": [1, 2], "rating": [3.0, 4.5], **columns})


def rows_of(rows) -> dict:
    batches = list(rows.batches())
    return pa.Table.from_batches(batches).to_pydict() if batches else {}


def read(table, chosen=NAMES) -> dict:
    return rows_of(table_rows(table_of(table), "table", chosen))


class Stream:
    """A table of a library that nobody here knows."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda table: table,
        lambda table: table.to_batches()[0],
        lambda table: table.to_reader(),
        Stream,
    ],
)
def test_everything_of_arrow_is_a_table(wrapped, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 1)

    assert read(wrapped(arrow())) == {"user": ["a", "b"], "item": [1, 2], "rating": [3.0, 4.5]}


def test_columns_of_all_types_that_hold_ids_and_ratings_become_plain():
    given = arrow(
        user=pa.array(["a", None], pa.string_view()).dictionary_encode(),
        item=pc.run_end_encode(pa.array([7, 7])),
        rating=pa.array([1, 2], pa.float16()),
    )
    assert read(given) == {"user": ["a", None], "item": [7, 7], "rating": [1.0, 2.0]}
    assert read(arrow(item=pa.array([1, 2], pa.decimal128(38, 0))))["item"] == [1, 2]
    assert read(arrow(rating=pa.nulls(2)))["rating"] == [None, None]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {"user": [1.0, 2.0]},
            r"table\['user'\] must be text or whole numbers, not the double of Arrow; if they",
        ),
        ({"item": [True, False]}, r"table\['item'\] must be text or whole numbers, not the bool of Arrow$"),
        ({"item": [b"a", b"b"]}, r"not the binary of Arrow; decode them"),
        ({"user": pa.array([1, 2], pa.decimal128(5, 2))}, r"not the decimal128\(5, 2\) of Arrow; if they are"),
        ({"user": [["a"], ["b"]]}, r"not the list<item: string> of Arrow"),
        ({"rating": [True, False]}, r"table\['rating'\] must be numbers, not the bool of Arrow"),
        ({"user": pa.array([1, 2], pa.duration("s"))}, r"not the duration\[s\] of Arrow"),
    ],
)
def test_a_column_of_another_type_is_refused_in_one_line(columns, reason):
    with pytest.raises(DataError, match=reason) as caught:
        read(arrow(**columns))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"user": "member"}, "user: no column 'member' in the table; its columns: user, item, rating"),
        ({"user": "item"}, "user and item name the same column of the table, 'item'"),
        ({"rating": 3}, "rating: no column 3 in the table"),
        ({"rating": True}, "rating must be the name of a column, not True"),
        ({"rating": ["rating"]}, r"rating must be the name of a column, not \['rating'\]"),
    ],
)
def test_a_column_that_cannot_be_chosen_is_told(chosen, reason):
    with pytest.raises(ConfigError, match=reason):
        read(arrow(), {**NAMES, **chosen})


def test_a_doubled_column_is_refused_where_it_is_chosen():
    given = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2.0])], ["user", "item", "item"])

    with pytest.raises(ConfigError, match="item: more than one column 'item' in the table"):
        read(given, {"user": "user", "item": "item", "rating": 2})
    assert read(given, {"user": 0, "item": 1, "rating": 2}) == {"user": ["a"], "item": [1], "rating": [2.0]}


def test_a_stream_that_breaks_off_is_told_in_one_line():
    def batches():
        yield from arrow().to_batches()
        raise OSError("the line\nwent dead")

    reader = pa.RecordBatchReader.from_batches(arrow().schema, batches())

    with pytest.raises(DataError, match=r"^the table cannot be read: .*the line went dead"):
        read(reader)


def test_entries_of_a_matrix_are_ratings_zeros_too(monkeypatch):
    monkeypatch.setattr(matrices, "CHUNK_ROWS", 2)
    entries = ([5.0, 0.0, 2.0], ([0, 2, 2], [1, 0, 3]))
    for form in ("coo", "csr", "csc", "lil", "dok"):
        matrix = sparse.coo_array(entries, shape=(3, 4)).asformat(form)
        found = rows_of(table_rows(matrix_table(matrix, None, None), "table", NAMES))
        got = set(zip(found["user"], found["item"], found["rating"], strict=True))
        assert {(0, 1, 5.0), (2, 3, 2.0)} <= got, form
        assert form == "dok" or (2, 0, 0.0) in got, form


def test_a_matrix_may_have_ids():
    matrix = sparse.csr_matrix(([5, 3], ([0, 1], [1, 0])), shape=(2, 2))

    found = rows_of(table_rows(matrix_table(matrix, ["ann", "bob"], np.array([10, 20])), "table", NAMES))

    assert found == {"user": ["ann", "bob"], "item": ["20", "10"], "rating": [5, 3]}


@pytest.mark.parametrize(
    ("matrix", "ids", "error", "reason"),
    [
        (sparse.bsr_array(np.eye(2)), (None, None), ConfigError, "format bsr is padded with zeros"),
        (sparse.csr_array(np.eye(2)), (["a"], None), DataError, "each of the 2 rows of the matrix, but has 1"),
        (sparse.csr_array(np.eye(2)), (None, ["a", "a"]), DataError, "item_ids must be unique, but 'a' occurs"),
        (sparse.csr_array(np.eye(2)), (None, ["a", None]), DataError, r"item_ids\[1\] is missing"),
        (sparse.csr_array(np.eye(2)), (None, [1.5, 2]), DataError, r"item_ids\[0\] is 1.5"),
        (sparse.coo_array(np.ones(2)), (None, None), DataError, "this one has 1"),
        (sparse.csr_array(np.eye(2) > 0), (None, None), DataError, "must be numbers, not NumPy's bool"),
        (sparse.csr_array(np.eye(2) * 1j), (None, None), DataError, "^the table cannot be read: "),
    ],
)
def test_a_matrix_that_holds_no_ratings_is_refused(matrix, ids, error, reason):
    with pytest.raises(error, match=reason):
        rows_of(table_rows(matrix_table(matrix, *ids), "table", NAMES))


def test_titles_are_a_mapping_or_a_table():
    expected = {"item": ["1", "2"], "title": ["One", None]}
    given = pa.table({"item": ["1", "2"], "title": ["One", None]})

    assert rows_of(title_rows({1: "One", "2": None}, "titles", None, "title")) == expected
    assert rows_of(title_rows(given, "titles", "film", "title")) == expected
    assert rows_of(title_rows(given.rename_columns(["film", "name"]), "titles", "film", "name")) == expected


@pytest.mark.parametrize(
    ("titles", "error", "reason"),
    [
        ({"1": 5}, DataError, r"titles\['title'\] must be text, but titles\['title'\]\[0\] is 5, of type int"),
        ({1.5: "x"}, DataError, r"titles\['item'\]\[0\] is 1.5"),
        ("movies.csv", ConfigError, "not a str; name files by `items` in settings"),
        (pa.table({"name": ["x"]}), ConfigError, "item: no column 'item' in the titles; its columns: name"),
        (pa.table({"item": ["x"], "title": [b"x"]}), DataError, "not the binary of Arrow; decode them"),
    ],
)
def test_what_are_no_titles_is_refused(titles, error, reason):
    with pytest.raises(error, match=reason):
        rows_of(title_rows(titles, "titles", None, "title"))


def objects(field, values, first_row=0):
    return Column(field, "column").array(values, first_row).to_pylist()


def test_objects_are_ids_and_numbers_by_the_same_rules():
    assert objects("user", ["a", 7, decimal.Decimal(8), np.int64(9), None, float("nan")]) == [
        *("a", "7", "8", "9"),
        *("", ""),
    ]
    assert objects("rating", [4, 2.5, decimal.Decimal("1.50"), "3", np.float32(0.1), None]) == [
        *("4", "2.5", "1.50"),
        *("3", "0.1", None),
    ]
    for field, wrong in [("user", 1.5), ("user", True), ("user", b"x"), ("rating", True), ("rating", b"1")]:
        with pytest.raises(DataError, match=r"column\[12\] is"):
            objects(field, ["1", "2", wrong], first_row=10)


def test_dates_and_times_of_all_types_become_instants():
    noon = datetime.datetime(2020, 1, 1, 12)
    utc = datetime.UTC
    moments = [noon, noon.replace(tzinfo=BERLIN), noon.date(), np.datetime64("2020-01-01T00:00:00.5"), None]

    found = Column("timestamp", "column").array(moments, 0)

    assert found.type == pa.timestamp("us")
    assert found.cast(pa.timestamp("us", "UTC")).to_pylist() == [
        noon.replace(tzinfo=utc),
        noon.replace(hour=11, tzinfo=utc),
        noon.replace(hour=0, tzinfo=utc),
        datetime.datetime(2020, 1, 1, 0, 0, 0, 500_000, tzinfo=utc),
        None,
    ]
    billionth = Column("timestamp", "column").array([np.datetime64("1969-12-31T23:59:59.999999999"), noon], 0)
    assert billionth.cast(pa.int64())[0].as_py() == -1
    assert objects("timestamp", [5, "6", None]) == ["5", "6", None]
    with pytest.raises(
        DataError, match=r"column\[1\] is 5, of type int; other values of the column are dates or times"
    ):
        objects("timestamp", [noon, 5])
    with pytest.raises(DataError, match="column cannot be read"):
        objects("timestamp", [datetime.datetime(9999, 1, 1), np.datetime64("2020-01-01T00:00:00.000000001")])
