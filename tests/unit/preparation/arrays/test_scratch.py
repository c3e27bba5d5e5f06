import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_dist.preparation.arrays.scratch import Scratch, narrow, narrow_ratings, wide_ratings

HALVES = st.integers(0, 600).map(lambda halves: halves / 2)
FLOATS = st.one_of(HALVES, st.sampled_from([-0.0, 0.3, -0.5, 3e38, 1e-45]), st.floats(width=32, allow_nan=False))


@given(st.lists(st.one_of(HALVES, FLOATS), max_size=20))
def test_narrow_ratings_come_back_bit_for_bit(values: list[float]) -> None:
    ratings = np.array(values, np.float32)

    packed = narrow_ratings(ratings)

    assert np.array_equal(wide_ratings(packed).view(np.int32), ratings.view(np.int32))


def test_ratings_in_whole_halves_take_a_byte() -> None:
    assert narrow_ratings(np.array([0.5, 5.0, 127.5], np.float32)).dtype == np.uint8
    assert narrow_ratings(np.array([0.5, 128.0], np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([], np.uint16),
        ([0, 2**16 - 1], np.uint16),
        ([2**16], np.int32),
        ([-1, 5], np.int32),
        ([2**31 - 1, -(2**31)], np.int32),
        ([2**31], np.int64),
        ([-(2**31) - 1], np.int64),
    ],
)
def test_whole_numbers_take_as_few_bytes_as_hold_them(numbers: list[int], dtype: type[np.integer]) -> None:
    narrowed = narrow(np.array(numbers, np.int64))

    assert narrowed.dtype == dtype
    assert narrowed.tolist() == numbers


def test_what_is_discarded_is_gone_from_a_local_disk_and_may_be_gone_before(tmp_path) -> None:
    scratch = Scratch(str(tmp_path))
    scratch.save("rows", {"row": np.arange(3)})

    scratch.discard(["rows", "other"])
    scratch.discard(["rows"])

    assert list(tmp_path.iterdir()) == []
