import numpy as np
import pytest

from recsys_dist.data.order import order_within_rows, stable_order


@pytest.mark.parametrize("num_rows", [0, 1, 5000])
def test_stable_order_is_that_of_a_stable_sort(num_rows: int) -> None:
    keys = np.random.default_rng(num_rows).integers(0, 300, num_rows)

    assert np.array_equal(stable_order(keys, 300), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("num_columns", [90, 2**52])
def test_entries_of_each_row_come_out_by_column_and_rows_stay(num_columns: int) -> None:
    """With the larger number row, column and place do not fit into one."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, 200)
    columns = np.concatenate([rng.choice(90, count, replace=False) for count in counts])
    rows = np.repeat(np.arange(200), counts)

    order, ordered = order_within_rows(np.concatenate([[0], np.cumsum(counts)]), columns, num_columns)

    assert np.array_equal(order, np.lexsort([columns, rows]))
    assert np.array_equal(ordered, columns[order])
