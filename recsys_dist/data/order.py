"""Orders of integer keys by counting, at the cost of their number: a sort by comparison takes three times that.

A transposition of a sparse matrix is such a count: entries come out by column, in the order of their rows. N keys.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_dist.data.tables import index_dtype


def stable_order(key_N: NDArray[np.integer], num_keys: int) -> NDArray[np.integer]:
    """`np.argsort(key_N, kind="stable")` of keys from 0 to below `num_keys`."""
    from scipy import sparse  # noqa: PLC0415 - slow to import, and only needed in tasks

    dtype = index_dtype(len(key_N))
    row_starts = np.arange(len(key_N) + 1, dtype=dtype)
    nothing = np.zeros(len(key_N), np.int8)
    shape = (len(key_N), num_keys)
    order: NDArray[np.integer] = sparse.csr_array((nothing, key_N, row_starts), shape=shape).tocsc().indices
    return order


def order_within_rows(
    indptr: NDArray[np.integer], column_N: NDArray[np.integer], num_columns: int
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """The order that sorts the entries of each row of a CSR matrix by column, and the columns in that order."""
    from scipy import sparse  # noqa: PLC0415 - slow to import, and only needed in tasks

    entries = np.arange(len(column_N), dtype=index_dtype(len(column_N)))
    shape = (len(indptr) - 1, num_columns)
    by_row = sparse.csr_array((entries, column_N, indptr), shape=shape).tocsc().tocsr()
    return by_row.data, by_row.indices
