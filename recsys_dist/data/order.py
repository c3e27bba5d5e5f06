"""Orders of integer keys, faster than a sort that compares them. N keys.

By counting, at the cost of their number: a transposition of a sparse matrix is such a count, of which entries come
out by column, in the order of their rows. Or as plain numbers that hold key and place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_dist.data.tables import index_dtype

LARGEST_BITS = 63
"""Of a number that is sorted."""


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
    num_rows, place_bits = len(indptr) - 1, len(column_N).bit_length()
    row_N = np.repeat(np.arange(num_rows), np.diff(indptr))
    if (num_rows * num_columns).bit_length() + place_bits > LARGEST_BITS:
        order = np.lexsort([column_N, row_N])
        return order, column_N[order]
    # Row, column and place in one number each: numpy sorts plain numbers by vector instructions, in half the time
    # of two transpositions, and finds orders without.
    packed_N = row_N * num_columns
    packed_N += column_N
    packed_N <<= place_bits
    packed_N |= np.arange(len(column_N))
    packed_N.sort()
    order = packed_N & ((1 << place_bits) - 1)
    return order, column_N[order]
