"""Ids as pandas and polars hold them, where these are installed: the program needs neither."""

from __future__ import annotations

import decimal

import pyarrow as pa
import pytest

from recsys_dist.errors import DataError
from recsys_dist.inference.ids import id_array
from recsys_dist.inference.ratings import as_ratings

MISSING = r"ids\[1\] is missing"


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
