"""The order found by counting is the stable one."""

import numpy as np
import pytest

from recsys_dist.data.counting_sort import stable_order, stable_order_within


@pytest.mark.parametrize(("num_rows", "num_numbers"), [(0, 0), (0, 3), (1, 1), (7, 3), (1000, 20), (1000, 10**6)])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_order_is_that_of_a_stable_sort(num_rows: int, num_numbers: int, dtype: type[np.integer]) -> None:
    numbers = np.random.default_rng(num_rows).integers(0, max(1, num_numbers), num_rows).astype(dtype)
    assert stable_order(numbers, num_numbers).tolist() == np.argsort(numbers, kind="stable").tolist()


@pytest.mark.parametrize("num_entries", [0, 1, 500])
def test_entries_of_a_row_are_ordered_and_equal_ones_stay_in_place(num_entries: int) -> None:
    random = np.random.default_rng(0)
    row, number = np.sort(random.integers(0, 9, num_entries)), random.integers(0, 5, num_entries)
    bounds = np.searchsorted(row, np.arange(10))
    assert stable_order_within(bounds, number, 5).tolist() == np.lexsort([number, row]).tolist()
