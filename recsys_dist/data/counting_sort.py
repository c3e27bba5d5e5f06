"""The stable order of small whole numbers, found by counting: in time linear in rows and in distinct numbers.

scipy transposes sparse matrices by counting, column after column, and leaves the entries of a column in the order
of their rows. So the transpose of a matrix with one entry a row, in the column that the row's number says, holds
the rows in the order of their numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

INT32_PLACES = 2**31
Places = NDArray[np.int32] | NDArray[np.int64]


def stable_order(numbers: NDArray[Any], num_numbers: int) -> Places:
    """What `np.argsort(numbers, kind="stable")` returns, for numbers from 0 to below `num_numbers`."""
    from scipy import sparse  # noqa: PLC0415 - slow to import, and not needed by the coordinating process

    num_rows = len(numbers)
    dtype = np.int32 if max(num_rows + 1, num_numbers) < INT32_PLACES else np.int64
    one_a_row = (
        np.zeros(num_rows, np.int8),
        numbers.astype(dtype, copy=False),
        np.arange(num_rows + 1, dtype=dtype),
    )
    order: Places = sparse.csr_array(one_a_row, shape=(num_rows, num_numbers)).tocsc().indices
    return order


def stable_order_within(bounds: NDArray[np.int64], numbers: NDArray[Any], num_numbers: int) -> Places:
    """The stable order by `numbers` of the entries of each row, rows staying as they are.

    Row r holds the entries bounds[r] .. bounds[r + 1]; numbers are from 0 to below `num_numbers`.
    """
    from scipy import sparse  # noqa: PLC0415 - slow to import, and not needed by the coordinating process

    num_entries = len(numbers)
    dtype = np.int32 if max(num_entries + 1, num_numbers) < INT32_PLACES else np.int64
    entries = (np.arange(num_entries, dtype=dtype), numbers.astype(dtype, copy=False), bounds.astype(dtype))
    # Transposed twice: by number, and within each number by row; then by row, and within each row by number.
    order: Places = sparse.csr_array(entries, shape=(len(bounds) - 1, num_numbers)).tocsc().tocsr().data
    return order
