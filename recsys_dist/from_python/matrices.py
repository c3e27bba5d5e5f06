"""A SciPy sparse matrix as a table: a row is a user, a column an item, a stored entry a rating."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.from_python.tables import CHUNK_ROWS, Chunk, Table
from recsys_dist.inference.columns import Values
from recsys_dist.inference.ids import id_array

PADDED = {"bsr", "dia"}
"""Formats that pad with explicit zeros."""


def is_matrix(given: Any) -> bool:
    """Whether `given` is a SciPy sparse matrix or array."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(given))


def matrix_table(matrix: Any, user_ids: Values | None, item_ids: Values | None) -> Table:
    """The stored entries of the matrix, including zeros, in storage order.

    Without ids, row and column numbers are the ids. Raises `ConfigError` for a format that pads with zeros,
    `DataError` for a matrix that is not two-dimensional and for ids that do not match its shape.
    """
    if matrix.ndim != 2:
        raise DataError(f"a sparse array needs two dimensions, users x items; this one has {matrix.ndim}")
    if matrix.format in PADDED:
        raise ConfigError(
            f"a sparse matrix of format {matrix.format} is padded with zeros, and each would be a rating; convert "
            "it to CSR, CSC, COO, LIL or DOK and remove them"
        )
    users = _ids(user_ids, "user_ids", matrix.shape[0], "rows")
    items = _ids(item_ids, "item_ids", matrix.shape[1], "columns")
    entries = matrix.tocoo(copy=False)

    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        for start in range(0, len(entries.data), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            rating = pa.array(np.ascontiguousarray(entries.data[part]))
            columns = (_named(entries.row[part], users), _named(entries.col[part], items), rating)
            yield [columns[place] for place in places]

    kinds = ["an index", "an index", f"NumPy's {entries.data.dtype}"]
    return Table(["user", "item", "rating"], chunks, kinds)


def require_no_zeros(matrix: Any) -> None:
    """Raise `DataError` if a zero is stored, which is either no interaction or one whose value does not count."""
    num_zeros = matrix.nnz - matrix.count_nonzero()
    if num_zeros:
        raise DataError(
            f"the sparse matrix stores {num_zeros:,} zeros, and with rating=None every stored entry is an "
            "interaction; call eliminate_zeros() first if they are none"
        )


def _ids(given: Values | None, name: str, count: int, what: str) -> pa.Array | None:
    if given is None:
        return None
    ids = id_array(given, name)
    if len(ids) != count:
        raise DataError(
            f"{name} must have one id for each of the {count:,} {what} of the matrix, but has {len(ids):,}"
        )
    counted = ids.value_counts()
    repeated = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    if len(repeated):
        raise DataError(f"{name} must be unique, but {repeated[0].as_py()!r} occurs more than once")
    return ids


def _named(index: Any, ids: pa.Array | None) -> pa.Array:
    numbers = pa.array(np.ascontiguousarray(index))
    return numbers if ids is None else ids.take(numbers)
