"""Ids and ratings from wherever a caller has them: the right text or number, or one line that says why not."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import fractions
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from recsys_dist import load_model
from recsys_dist.errors import DataError
from recsys_dist.inference.columns import as_ratings
from recsys_dist.inference.ids import IdIndex, id_array
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset

CASES = Path(__file__).resolve().parents[1] / "data" / "field_cases" / "api"
MISSING = "is missing"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("ids")
    dataset = small_dataset(root / "dataset", num_users=40, num_items=25, num_ratings=300)
    write_merged(mf_run(dataset), dataset, root / "model")
    return str(root / "model")


@pytest.fixture(scope="module")
def model(path):
    return load_model(path)


class Genre(str, enum.Enum):  # noqa: UP042 - prints as Genre.DRAMA
    DRAMA = "u3"


class Number(enum.IntEnum):
    SEVEN = 7


class Wrapped:
    def __array__(self, dtype=None, copy=None):
        return np.array([1, 2**64 - 1], np.uint64)


def text_of(*raw: bytes) -> pa.Array:
    """An Arrow array of text that nobody has checked to be UTF-8."""
    offsets = np.cumsum([0, *map(len, raw)]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(raw))]
    return pa.Array.from_buffers(pa.string(), len(raw), buffers)


def column(values: list[object], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind)


RIGHT = {
    "text": ("u3", ["u3"]),
    "digits": (7, ["7"]),
    "beyond 64 bits": ([2**70, -(2**70)], ["1180591620717411303424", "-1180591620717411303424"]),
    "uint64 in a list": ([2**64 - 1, 5], ["18446744073709551615", "5"]),
    "uint64 array": (np.array([2**64 - 1, 0], np.uint64), ["18446744073709551615", "0"]),
    "uint64 scalar": (np.uint64(2**64 - 1), ["18446744073709551615"]),
    "int8": (np.array([-128, 127], np.int8), ["-128", "127"]),
    "big-endian": (np.array([1, 2**40], ">i8"), ["1", "1099511627776"]),
    "big-endian text": (np.array(["a", "é"], ">U2"), ["a", "é"]),
    "strided": (np.arange(10)[::-3], ["9", "6", "3", "0"]),
    "no dimension": (np.array(5), ["5"]),
    "text of no dimension": (np.array("u3", object), ["u3"]),
    "unmasked": (np.ma.array([1, 2], mask=[False, False]), ["1", "2"]),
    "objects": (np.array(["u1", 7, np.int8(3)], object), ["u1", "7", "3"]),
    "NumPy's text": (np.array(["a", "b"], np.dtypes.StringDType()), ["a", "b"]),
    "text that ends in NUL": (["a\0", np.str_("b\0")], ["a\0", "b\0"]),
    "mixed kinds": ([7, "7", np.int64(12), np.str_("x")], ["7", "7", "12", "x"]),
    "enumerations": ([Genre.DRAMA, Number.SEVEN], ["u3", "7"]),
    "decimals without a fraction": ([decimal.Decimal(7), decimal.Decimal(10**30)], ["7", "1" + 30 * "0"]),
    "range": (range(3), ["0", "1", "2"]),
    "generator": ((f"u{n}" for n in range(2)), ["u0", "u1"]),
    "tuple": (("a", 1), ["a", "1"]),
    "deque": (collections.deque([1, "b"]), ["1", "b"]),
    "keys": ({"b": 0, "a": 1}.keys(), ["b", "a"]),
    "array": (array.array("q", [1, -2]), ["1", "-2"]),
    "tensor": (torch.tensor([3, 4]), ["3", "4"]),
    "tensor of no dimension": ([torch.tensor(5)], ["5"]),
    "what makes an array of itself": (Wrapped(), ["1", "18446744073709551615"]),
    "Arrow scalar": (pa.scalar("196"), ["196"]),
    "Arrow scalars": ([pa.scalar("a"), pa.scalar(2**64 - 1, pa.uint64())], ["a", "18446744073709551615"]),
    "chunks": (pa.chunked_array([["a"], [], ["b"]]), ["a", "b"]),
    "large text": (column(["a"], pa.large_string()), ["a"]),
    "views of text": (column(["a", 30 * "b"], pa.string_view()), ["a", 30 * "b"]),
    "dictionary": (pa.array(["b", "a", "b"]).dictionary_encode(), ["b", "a", "b"]),
    "dictionary of numbers": (pa.array([9, 8, 9]).dictionary_encode(), ["9", "8", "9"]),
    "dictionary of views": (
        pa.DictionaryArray.from_arrays(pa.array([1, 0]), column(["a", "b"], pa.string_view())),
        ["b", "a"],
    ),
    "runs": (
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
        ["a", "a", "b"],
    ),
    "slice": (pa.array(["a", "b", "c"])[1:], ["b", "c"]),
    "decimal of scale 0": (column([decimal.Decimal(10**30)], pa.decimal128(38, 0)), ["1" + 30 * "0"]),
    "wide decimal": (column([decimal.Decimal(10**50)], pa.decimal256(60, 0)), ["1" + 50 * "0"]),
    "nothing": ([], []),
    "nothing of NumPy": (np.array([]), []),
    "nothing of Arrow": (pa.array([], pa.float64()), []),
}


@pytest.mark.parametrize("case", RIGHT)
def test_ids_are_exactly_their_text(case):
    given, expected = RIGHT[case]

    assert id_array(given).to_pylist() == expected
    assert id_array(given).type == pa.string()


WRONG = {
    "fraction": ([1, 1.5], r"ids\[1\] is 1.5, of type float; if they are whole, convert them"),
    "whole float": (196.0, r"ids\[0\] is 196.0, of type float; if they are whole, convert them"),
    "float array": (np.array([1.0]), "not NumPy's float64; if they are whole, convert them"),
    "truth value": (["u1", True], r"ids\[1\] is True, of type bool"),
    "NumPy's truth value": ([np.True_], r"ids\[0\] is np.True_, of type bool"),
    "truth values": (np.array([True]), "not NumPy's bool"),
    "bytes": (b"u1", r"ids\[0\] is b'u1', of type bytes; decode them"),
    "bytes in a list": (["u1", b"u2"], r"ids\[1\] is b'u2', of type bytes; decode them"),
    "array of bytes": (np.array([b"u1"]), r"not NumPy's \|S2; decode them"),
    "bytearray": (bytearray(b"u1"), "of type bytearray; decode them"),
    "memory of bytes": (memoryview(b"u1"), "of type memoryview; decode them"),
    "None": (["u1", None], rf"ids\[1\] {MISSING} \(None\); leave it out"),
    "None alone": (None, rf"ids\[0\] {MISSING}"),
    "NaN": ([1, float("nan")], rf"ids\[1\] {MISSING} \(nan\)"),
    "NaT": ([np.datetime64("NaT")], rf"ids\[0\] {MISSING}"),
    "masked": (np.ma.array([1, 2, 3], mask=[False, True, True]), rf"ids\[1\] {MISSING} \(masked\)"),
    "masked alone": ([1, np.ma.masked], rf"ids\[1\] {MISSING}"),
    "masked objects": (np.ma.array(["a", "b"], object, mask=[True, False]), rf"ids\[0\] {MISSING}"),
    "missing NumPy text": (np.array(["a", None], np.dtypes.StringDType(na_object=None)), rf"ids\[1\] {MISSING}"),
    "null": (pa.array(["a", None]), rf"ids\[1\] {MISSING}"),
    "null in a later chunk": (pa.chunked_array([["a"], ["b", None]]), rf"ids\[2\] {MISSING}"),
    "null behind a dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None])),
        rf"ids\[1\] {MISSING}",
    ),
    "null scalar": ([pa.scalar(None, pa.string())], rf"ids\[0\] {MISSING}"),
    "nulls": (pa.nulls(2), rf"ids\[0\] {MISSING}"),
    "surrogate": (["u1", "\ud800"], r"ids\[1\] is '\\ud800', of type str; it contains half of a surrogate pair"),
    "undecoded": ("u\udcff", "half of a surrogate pair"),
    "surrogate in an array": (np.array(["\ud800"], object), "half of a surrogate pair"),
    "bad UTF-8": (text_of(b"u1", b"\xff"), "cannot be read: Invalid UTF8 sequence at string index 1"),
    "bad UTF-8 scalar": ([text_of(b"\xff")[0]], "of type StringScalar"),
    "decimal with a scale": (
        column([decimal.Decimal("7.0")], pa.decimal128(5, 1)),
        r"not Arrow's decimal128\(5, 1\)",
    ),
    "Python's decimal": ([decimal.Decimal("7.0")], "of type Decimal; if they are whole"),
    "ratio": ([fractions.Fraction(3)], r"is Fraction\(3, 1\), of type Fraction"),
    "complex": ([1j], "of type complex"),
    "doubles of Arrow": (pa.array([1.0]), "not Arrow's double; if they are whole"),
    "times of Arrow": (pa.array([1], pa.timestamp("s")), r"not Arrow's timestamp\[s\]"),
    "time scalar": ([pa.scalar(5, pa.timestamp("ns"))], "of type TimestampScalar"),
    "date": ([datetime.date(2020, 1, 1)], "of type date"),
    "UUID": ([uuid.UUID(int=1)], "of type UUID"),
    "lists of Arrow": (pa.array([["a"]]), "not Arrow's list"),
    "table": (pa.table({"user": ["a"]}), r"must be one-dimensional, not a Table of shape \(1, 1\)"),
    "matrix": (np.zeros((2, 2), int), r"must be one-dimensional, not a ndarray of shape \(2, 2\)"),
    "matrix of torch": (torch.zeros(2, 2), r"must be one-dimensional, not a Tensor of shape \(2, 2\)"),
    "list in a list": ([["u1"]], r"must be one-dimensional, not with a list as ids\[0\]"),
    "array in a list": (["u1", np.array([1, 2])], r"must be one-dimensional, not with a ndarray as ids\[1\]"),
    "set": ({"u1"}, "must have an order, but a set has none; give a list"),
    "mapping": ({"u1": 1}, "must have an order, but a dict has none; give a list"),
    "endless digits": ([10**5000], r"ids\[0\] is a value that cannot be printed, of type int; give it as text"),
    "rows": (np.zeros(1, [("user", int)]), "not NumPy's"),
    "anything": (object(), "of type object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_id_is_refused_in_one_short_line_with_its_place(case):
    given, reason = WRONG[case]

    with pytest.raises(DataError, match=reason) as refused:
        id_array(given)

    assert str(refused.value).startswith("ids ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_every_entrance_reads_ids_alike(model):
    users, items = pa.array(["u3", "u5"]).dictionary_encode(), (f"i{n}" for n in (1, 2))
    std = model.predict(["u3", "u5"], ["i1", "i2"], return_std=True)
    for predicted, expected in zip(model.predict(users, items, return_std=True), std, strict=True):
        np.testing.assert_array_equal(predicted, expected)
    low, high = model.predict_interval(pa.scalar("u3"), np.array("i1"))
    expected_low, expected_high = model.predict_interval("u3", "i1")
    assert (low, high) == (expected_low, expected_high)
    assert model.predict_probabilities(pa.chunked_array([["u3"]]), "i1")[0].shape[0] == 1
    assert [one.user_id for one in model.recommend(pa.array(["u3", "u5"]), 1)] == ["u3", "u5"]
    assert model.similar_items(pa.scalar("i3"), 2).ids == model.similar_items("i3", 2).ids
    assert model.similar_users(np.str_("u3"), 2).ids == model.similar_users("u3", 2).ids
    folded = model.fold_in(pa.array(["i1", "i2"]), pa.array([5, 3]), user_id=pa.scalar("u3"))
    assert folded.user_id == "u3"
    np.testing.assert_array_equal(folded.predict(iter(["i7"])), folded.predict("i7"))


REFUSALS = {
    "predict a user": lambda model, wrong: model.predict([wrong], ["i1"]),
    "predict an item": lambda model, wrong: model.predict("u1", ["i1", wrong]),
    "interval": lambda model, wrong: model.predict_interval([wrong], ["i1"]),
    "probabilities": lambda model, wrong: model.predict_probabilities([wrong], ["i1"]),
    "recommend": lambda model, wrong: model.recommend(["u1", wrong]),
    "similar items": lambda model, wrong: model.similar_items(wrong),
    "similar users": lambda model, wrong: model.similar_users(wrong),
    "require users": lambda model, wrong: model.require_users([wrong]),
    "fold in": lambda model, wrong: model.fold_in([wrong], [4]),
    "fold in a known user": lambda model, wrong: model.fold_in(["i1"], [4], user_id=wrong),
    "predict of a folded user": lambda model, wrong: model.fold_in(["i1"], [4]).predict([wrong]),
    "interval of a folded user": lambda model, wrong: model.fold_in(["i1"], [4]).predict_interval([wrong]),
}


@pytest.mark.parametrize("wrong", [1.0, float("nan"), b"u1", "\ud800", True])
@pytest.mark.parametrize("entrance", REFUSALS)
def test_every_entrance_refuses_what_is_no_id(model, entrance, wrong):
    with pytest.raises(DataError, match=r"(user|item)_ids must be text or whole numbers, but \w+\[\d\] is "):
        REFUSALS[entrance](model, wrong)


def test_an_id_that_no_dataset_holds_is_unknown(model):
    unknown = model.predict("new", "i1")

    for odd in ("", "u1\0", "a\nb", "u1 ", 2**200, "\x1b[31m"):
        np.testing.assert_array_equal(model.predict(odd, "i1"), unknown)


def test_numbers_find_the_text_that_they_are_written_as():
    index = IdIndex(pa.array(["18446744073709551615", "007", "7"]))

    assert index.find(np.array([2**64 - 1, 7], np.uint64)).tolist() == [0, 2]
    assert index.find([2**64 - 1, 7, "007"]).tolist() == [0, 2, 1]


def test_the_reported_scripts_print_what_is_right(path):
    told = run_case("scalar_ids.py", path).splitlines()
    assert [line.rpartition("> ")[2] for line in told] == ["['196']", "['1']"]

    one, two = (line.strip("[]").split() for line in run_case("uint64_ids.py", path).splitlines())
    cold = float(load_model(path).predict("nobody", "nothing")[0])
    assert [float(figure) for figure in (*one, *two)] == pytest.approx([cold] * 3, abs=1e-5)


def run_case(name: str, model: str) -> str:
    command = [sys.executable, str(CASES / name), model]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize(
    "ratings",
    [
        [4, 2.5],
        (4.0, np.float32(2.5)),
        np.array([4, 2.5], ">f8"),
        np.array([4, 2.5], object),
        np.ma.array([4, 2.5], mask=False),
        [decimal.Decimal(4), fractions.Fraction(5, 2)],
        pa.array([4, 2.5]),
        pa.chunked_array([[4.0], [2.5]]),
        pa.array([decimal.Decimal("4.0"), decimal.Decimal("2.5")]),
        pa.array([4, 2.5]).dictionary_encode(),
        [pa.scalar(4), pa.scalar(2.5)],
        torch.tensor([4, 2.5]),
        (rating for rating in (4, 2.5)),
    ],
)
def test_ratings_come_from_anywhere_too(ratings):
    read = as_ratings(ratings, 1, 5)

    assert read.dtype == np.float32
    assert read.tolist() == [4, 2.5]


@pytest.mark.parametrize(
    ("ratings", "reason"),
    [
        ([4, None], r"ratings must be numbers, but ratings\[1\] is missing \(None\)"),
        (np.array([4, np.nan]), r"ratings\[1\] is missing"),
        (np.ma.array([4, 3], mask=[True, False]), r"ratings\[0\] is missing \(masked\)"),
        (pa.array([4, None]), r"ratings\[1\] is missing"),
        (["4"], r"ratings\[0\] is '4', of type str"),
        (pa.array(["4"]), "not Arrow's string"),
        (np.array(["4"]), r"ratings\[0\] is '4', of type str"),
        ([True], r"ratings\[0\] is True, of type bool"),
        (pa.array([True]), "not NumPy's bool"),
        (pa.array([1], pa.date32()), "not NumPy's datetime64"),
        ({4.0}, "must have an order"),
        ([[4.0]], "must be one-dimensional"),
        (b"45", r"ratings\[0\] is b'45', of type bytes"),
    ],
)
def test_what_is_no_rating_is_refused_with_its_place(ratings, reason):
    with pytest.raises(DataError, match=reason):
        as_ratings(ratings, 1, 5)


@pytest.mark.parametrize("unit", ["s", "ns", "Y"])
def test_a_span_of_time_is_no_whole_number(unit):
    with pytest.raises(DataError, match=r"ids\[1\] is"):
        id_array(["a", np.timedelta64(5, unit)])
    with pytest.raises(DataError, match=r"ratings\[0\] is"):
        as_ratings([np.timedelta64(5, unit)], 0, 10)
