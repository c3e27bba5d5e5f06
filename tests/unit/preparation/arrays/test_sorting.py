import numpy as np
import pytest

from recsys_dist.preparation.arrays.sorting import sort_pairs, sort_stably, stable_order


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("num_rows", [0, 1, 2, 5000])
def test_stable_order_is_that_of_a_stable_sort(num_rows: int, dtype: type[np.integer]) -> None:
    keys = np.random.default_rng(num_rows).integers(0, 300, num_rows).astype(dtype)

    assert np.array_equal(stable_order(keys, 300), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("bits", [49, 50, 51, 52, 62])
def test_keys_too_large_to_stand_beside_their_places_are_ordered_too(bits: int) -> None:
    """Places of 5000 rows take 13 bits, so keys of 50 are the last that fit."""
    keys = 2**bits - 1 - np.random.default_rng(bits).integers(0, 300, 5000)

    assert np.array_equal(stable_order(keys, 2**bits), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("longest", [1, 8, 9, 100])
def test_stretches_of_equal_keys_are_ordered_as_single_keys(longest: int) -> None:
    """Some of the stretches are of the same key, so that their places show whether the order is stable."""
    random = np.random.default_rng(longest)
    keys = np.repeat(random.integers(0, 30, 400), random.integers(1, longest + 1, 400))

    assert np.array_equal(stable_order(keys, 30), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("bits", [8, 62])
def test_sorted_keys_come_with_their_order(bits: int) -> None:
    keys = 2**bits - 1 - np.random.default_rng(bits).integers(0, 200, 5000)

    in_order, order = sort_stably(keys, 2**bits)

    assert np.array_equal(in_order, np.sort(keys))
    assert np.array_equal(keys[order], in_order)


def test_sorted_pairs_tell_both_numbers_and_where_they_came_from() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 40, 2000), random.integers(0, 33, 2000).astype(np.uint16)

    pairs = sort_pairs(first, second, 40, 33)

    assert np.array_equal(pairs.order_N, np.lexsort((second, first)))
    assert np.array_equal(pairs.first_N, first[pairs.order_N])
    assert np.array_equal(pairs.second_N, second[pairs.order_N])
    is_equal = (np.diff(pairs.first_N) == 0) & (np.diff(pairs.second_N) == 0)
    assert np.array_equal(np.diff(pairs.key_N) == 0, is_equal)
