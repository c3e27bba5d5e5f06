import numpy as np
import pytest

from recsys_dist.data.order import stable_order


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
