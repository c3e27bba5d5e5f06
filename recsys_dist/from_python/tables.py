"""Tables of other libraries, in chunks of rows: what each of them is, and what its columns are called.

No library is imported for that: a table of one that nobody has imported cannot be there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_dist.errors import DataError, RecsysDistError
from recsys_dist.from_python.fields import Values

CHUNK_ROWS = 1 << 18
"""Rows in memory at a time beside the table itself."""
Chunk = Sequence[Values]


@dataclass(frozen=True)
class Table:
    """Columns with labels, and their rows in order."""

    labels: Sequence[Any]
    """What the columns are called; mostly text."""
    chunks: Callable[[Sequence[int]], Iterable[Chunk]]
    """Goes through the rows of the columns at some places, chunk by chunk."""
    kinds: Sequence[str] | None = None
    """What the library calls the types of the columns; None where it is Arrow."""
    index_labels: Sequence[Any] = ()
    """What is no column, but looks like one where the table is shown."""


def as_table(given: Any) -> Table | None:
    """The table that is given; None where it is none. Raises `DataError` where its library refuses."""
    if _is(given, "pandas", "DataFrame"):
        return _of_pandas(given)
    if _is(given, "dask.dataframe", "DataFrame"):
        return _of_dask(given)
    with reading():
        if _is(given, "polars", "DataFrame", "LazyFrame"):
            return _of_polars(given)
        if isinstance(given, pa.Table | pa.RecordBatch | pa.RecordBatchReader):
            return _of_arrow(given)
        if hasattr(given, "__arrow_c_stream__") and not isinstance(given, pa.ChunkedArray):
            return _of_arrow(pa.RecordBatchReader.from_stream(given))
    return None


def _is(given: Any, module: str, *names: str) -> bool:
    loaded = sys.modules.get(module)
    return any(isinstance(given, getattr(loaded, name, ())) for name in names)


@contextmanager
def reading() -> Iterator[None]:
    """Libraries refuse in ways of their own; what they say becomes one line."""
    try:
        yield
    except (RecsysDistError, MemoryError):
        raise
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"the table cannot be read: {problem}") from error


def _of_arrow(given: Any) -> Table:
    """A table, a batch or a stream, which can be gone through once."""

    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        batches: Iterable[pa.RecordBatch] = [given] if isinstance(given, pa.RecordBatch) else given
        for batch in given.to_batches() if isinstance(given, pa.Table) else batches:
            for start in range(0, batch.num_rows, CHUNK_ROWS):
                yield [batch.column(place).slice(start, CHUNK_ROWS) for place in places]

    return Table(list(given.schema.names), chunks)


def _of_polars(frame: Any) -> Table:
    """A DataFrame, or a LazyFrame, which is computed in batches."""
    labels = list(frame.collect_schema().names())

    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        for rows in _polars_slices(frame.select([labels[place] for place in places])):
            yield [_of_polars_series(column) for column in rows.get_columns()]

    return Table(labels, chunks)


def _polars_slices(frame: Any) -> Any:
    if hasattr(frame, "collect_batches"):
        return frame.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True)
    # Of a LazyFrame of versions that compute it as a whole.
    whole = frame.collect() if hasattr(frame, "collect") else frame
    return whole.iter_slices(CHUNK_ROWS)


def _of_polars_series(series: Any) -> Values:
    # Arrow has no whole numbers of 128 bits.
    return series.to_list() if str(series.dtype) in {"Int128", "UInt128"} else series.to_arrow()


def _of_pandas(frame: Any) -> Table:
    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        chosen = frame.iloc[:, list(places)]
        for start in range(0, len(chosen), CHUNK_ROWS):
            rows = chosen.iloc[start : start + CHUNK_ROWS]
            yield [_of_series(rows.iloc[:, place]) for place in range(len(places))]

    kinds = [f"pandas' {kind}" for kind in frame.dtypes]
    return Table(list(frame.columns), chunks, kinds, [name for name in frame.index.names if name is not None])


def _of_series(series: Any) -> Values:
    if series.dtype == np.dtype(object):
        return list(series)
    if hasattr(series, "sparse"):
        series = series.sparse.to_dense()
    return pa.array(series, from_pandas=True)


def _of_dask(frame: Any) -> Table:
    """Its partitions are computed one after the other."""
    empty = _of_pandas(frame._meta)

    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        chosen = frame[[empty.labels[place] for place in places]]
        for number in range(chosen.npartitions):
            yield from _of_pandas(chosen.partitions[number].compute()).chunks(range(len(places)))

    return Table(empty.labels, chunks, empty.kinds, empty.index_labels)
