"""Ids, and whole tables, of pandas, polars and Dask, where these are installed: the program needs none."""

from __future__ import annotations

import datetime
import decimal
import os
from pathlib import Path
from typing import Any

import dask
import pyarrow as pa
import pytest

import recsys_dist
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.from_python import tables
from recsys_dist.from_python.chosen import table_rows
from recsys_dist.from_python.tables import as_table
from recsys_dist.inference.ids import id_array
from recsys_dist.inference.ratings import as_ratings
from tests.support.dask_processes import dask_processes

MISSING = r"ids\[1\] is missing"
NAMED: dict[str, Any] = {"user": "member", "item": "film", "rating": "stars", "timestamp": "when"}
UTC = datetime.UTC


def table_of(given: Any) -> Any:
    """What is taken for a table."""
    return as_table(given)


@pytest.fixture
def pd():
    return pytest.importorskip("pandas")


@pytest.fixture
def pl():
    return pytest.importorskip("polars")


def test_columns_of_pandas_are_exactly_their_text(pd):
    right = [
        (pd.Series([1, 2**62]), ["1", "4611686018427387904"]),
        (pd.Series([2**64 - 1], dtype="uint64"), ["18446744073709551615"]),
        (pd.Series([1, 2**62 + 1], dtype="Int64"), ["1", "4611686018427387905"]),
        (pd.Series(["b", "a", "b"], dtype="category"), ["b", "a", "b"]),
        (pd.Categorical([3, 1]), ["3", "1"]),
        (pd.Series(["a"], dtype="string"), ["a"]),
        (pd.Series(["a", 7], dtype=object), ["a", "7"]),
        (pd.Series([1, 2, 3])[[2, 0]], ["3", "1"]),
        (pd.Index(["a"]), ["a"]),
        (pd.RangeIndex(2), ["0", "1"]),
        (pd.array([1, 2], dtype="Int64"), ["1", "2"]),
        (pd.Series([decimal.Decimal(7)], dtype=pd.ArrowDtype(pa.decimal128(9, 0))), ["7"]),
    ]
    for given, expected in right:
        assert id_array(given).to_pylist() == expected


def test_what_is_no_id_in_pandas_is_refused(pd):
    wrong = [
        (pd.Series([1, None], dtype="Int64"), MISSING),
        (pd.Series(["a", None]), MISSING),
        (pd.Series(["a", None], dtype="string"), MISSING),
        (pd.Series(["a", None], dtype="category"), MISSING),
        (pd.Series([1, None], dtype=pd.ArrowDtype(pa.int64())), MISSING),
        (["a", pd.NA], MISSING),
        (["a", pd.NaT], MISSING),
        (pd.Series([1, None]), "not NumPy's float64; where they are whole"),
        (pd.Series([True]), "not NumPy's bool"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "not NumPy's datetime64"),
        (pd.DataFrame({"user": [1]}), r"one-dimensional, not a DataFrame of shape \(1, 1\)"),
        (pd.MultiIndex.from_tuples([(1, 2)]), r"one-dimensional, not with a tuple as ids\[0\]"),
    ]
    for given, reason in wrong:
        with pytest.raises(DataError, match=reason):
            id_array(given)


def test_columns_of_polars_are_exactly_their_text(pl):
    right = [
        (pl.Series([1, 2**62]), ["1", "4611686018427387904"]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
        (pl.Series([2**100], dtype=pl.Int128), ["1267650600228229401496703205376"]),
        (pl.Series(["a", 30 * "b"]), ["a", 30 * "b"]),
        (pl.Series(["b", "a", "b"], dtype=pl.Categorical), ["b", "a", "b"]),
        (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), ["b", "a"]),
        (pl.Series([decimal.Decimal(5)], dtype=pl.Decimal(10, 0)), ["5"]),
        (pl.concat([pl.Series(["a"]), pl.Series(["b"])], rechunk=False), ["a", "b"]),
        (pl.Series([], dtype=pl.Float64), []),
    ]
    for given, expected in right:
        assert id_array(given).to_pylist() == expected


def test_what_is_no_id_in_polars_is_refused(pl):
    wrong = [
        (pl.Series(["a", None]), MISSING),
        (pl.Series([1, None]), MISSING),
        (pl.Series([1.0]), "not Arrow's double; where they are whole"),
        (pl.Series([True]), "not Arrow's bool"),
        (pl.Series([["a"]]), "not Arrow's large_list"),
        (pl.DataFrame({"user": [1]}), r"one-dimensional, not a DataFrame of shape \(1, 1\)"),
    ]
    for given, reason in wrong:
        with pytest.raises(DataError, match=reason):
            id_array(given)


def test_ratings_of_data_frames_are_read_too(pd, pl):
    columns = (
        pd.Series([4, 2.5]),
        pd.Series([4, 2.5], dtype="Float64"),
        pl.Series([4.0, 2.5]),
        pl.Series([4.0, 2.5]),
    )
    for given in columns:
        assert as_ratings(given, 1, 5).tolist() == [4, 2.5]
    for missing in (pd.Series([4, None]), pd.Series([4, None], dtype="Float64"), pl.Series([4.0, None])):
        with pytest.raises(DataError, match=r"ratings\[1\] is missing"):
            as_ratings(missing, 1, 5)


@pytest.fixture
def dd():
    """Dask's data frames, which need pandas; its threads would last for ever."""
    pytest.importorskip("pandas")
    found = pytest.importorskip("dask.dataframe")
    with dask.config.set(scheduler="synchronous"):
        yield found


def columns(num_rows=60):
    """Pairs that differ, whose ids and times have a plain form in every library."""
    start = datetime.datetime(2020, 1, 1, 12)
    return {
        "when": [start + datetime.timedelta(hours=number) for number in range(num_rows)],
        "film": [number % 9 for number in range(num_rows)],
        "stars": [1 + number % 5 / 2 for number in range(num_rows)],
        "member": [f"u{number // 9}" for number in range(num_rows)],
    }


def read(table, chosen=NAMED):
    """The rows that a preparation is handed, with times as such."""
    batches = list(table_rows(table_of(table), "table", chosen).batches())
    found = pa.Table.from_batches(batches).to_pydict()
    return {field: [str(one) if field in {"user", "item"} else one for one in found[field]] for field in found}


@pytest.fixture
def address(tmp_path_factory):
    """A Dask scheduler whose processes find what this one does: Dask compares the versions."""
    path = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
    with dask_processes(tmp_path_factory.mktemp("dask"), num_workers=1, PYTHONPATH=path) as processes:
        yield processes.address


def test_all_data_frames_become_one_dataset(pd, pl, dd, address, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 7)
    frame = pd.DataFrame(columns())
    given = {
        "arrow": pa.table(columns()),
        "pandas": frame,
        "objects": frame.astype(object),
        "categories": frame.astype({"member": "category", "film": "category"}),
        "nullable": frame.astype({"film": "Int16", "stars": "Float64", "member": "string"}),
        "of_arrow": frame.convert_dtypes(dtype_backend="pyarrow"),
        "polars": pl.DataFrame(columns()),
        "lazy": pl.LazyFrame(columns()).with_columns(pl.col("film").cast(pl.Int128)),
        "dask": dd.from_pandas(frame, npartitions=4),
    }

    digests = {
        name: recsys_dist.prepare(table, tmp_path / name, cluster={"address": address}, **NAMED).digest
        for name, table in given.items()
    }

    assert set(digests.values()) == {digests["arrow"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(given)


def test_missing_values_of_data_frames_are_kept_to_be_set_aside(pd, pl):
    expected = {"user": ["a", "None"], "item": ["1", "None"], "rating": [None, 2.0]}
    chosen = {"user": "user", "item": "item", "rating": "rating"}
    plain = {"user": ["a", None], "item": ["1", None], "rating": [None, 2.0]}

    for frame in (pd.DataFrame(plain), pl.DataFrame(plain), pd.DataFrame(plain).convert_dtypes()):
        assert read(frame, chosen) == expected
    assert read(pd.DataFrame(plain).astype(object), chosen) == {
        **{"user": ["a", ""], "item": ["1", ""], "rating": [None, "2.0"]}
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"member": [1.0, None]},
            r"table\['member'\] must be text or whole numbers, not pandas' float64; where they",
        ),
        ({"film": [True, False]}, r"table\['film'\] must be text or whole numbers, not pandas' bool$"),
        ({"film": [b"a", b"b"]}, r"table\['film'\]\[0\] is b'a', of type bytes; decode them"),
        ({"stars": [1j, 2]}, "^the table cannot be read: "),
        ({"stars": [True, False]}, r"table\['stars'\] must be numbers, not pandas' bool"),
        ({"when": [True, False]}, r"table\['when'\] must be numbers, dates and times, not pandas' bool"),
    ],
)
def test_columns_of_pandas_that_hold_no_ratings_are_refused(pd, changes, reason):
    frame = pd.DataFrame({**columns(2), **changes})

    with pytest.raises(DataError, match=reason) as caught:
        read(frame)
    assert "\n" not in str(caught.value)


def test_the_row_of_a_wrong_object_is_that_of_the_table(pd, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 4)
    frame = pd.DataFrame(columns(10)).astype(object)
    frame.loc[9, "film"] = 1.5

    with pytest.raises(DataError, match=r"table\['film'\]\[9\] is 1.5, of type float; where they are whole"):
        read(frame)


def test_labels_of_data_frames_are_exact(pd, pl):
    frame = pd.DataFrame(columns(3))

    with pytest.raises(ConfigError, match="user: 'member' is the index of the table, not a column; call reset"):
        read(frame.set_index("member"))
    with pytest.raises(ConfigError, match="user: more than one column 'member' in the table"):
        read(pd.concat([frame, frame], axis=1))
    numbered = pd.DataFrame([["x", 3.0, "a"]], columns=[2, 1, 0])
    assert read(numbered, {"user": 0, "item": 2, "rating": 1}) == {"user": ["a"], "item": ["x"], "rating": [3.0]}
    assert read(pl.DataFrame(columns(3)), {"user": 3, "item": 1, "rating": 2})["user"] == ["u0"] * 3


def test_what_a_library_refuses_is_told_in_one_line(pl):
    lazy = pl.LazyFrame(columns(3))

    for broken in (lazy.with_columns(pl.col("nothing")), lazy.with_columns(pl.col("member").cast(pl.Int64))):
        with pytest.raises(DataError, match=r"^the table cannot be read: ") as caught:
            read(broken)
        assert "\n" not in str(caught.value)


def test_dates_and_times_of_pandas_are_instants(pd):
    noon = pd.Timestamp("2020-01-01 12:00")
    later = noon + pd.Timedelta(1, "ns")
    for times in (
        pd.Series([noon, later]),
        pd.Series([noon, later]).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
        pd.Series([noon.as_unit("ns"), later.as_unit("ns")], dtype=object),
    ):
        frame = pd.DataFrame({"u": ["a", "b"], "t": times})
        (batch,) = table_rows(table_of(frame), "table", {"user": "u", "timestamp": "t"}).batches()
        instants = batch.column("timestamp").cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
        assert instants == [1577880000 * 10**9, 1577880000 * 10**9 + 1]
