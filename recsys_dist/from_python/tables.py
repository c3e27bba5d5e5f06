"""Tables of other libraries (Arrow, pandas, polars, Dask) as labelled columns in chunks of rows.

None of these libraries is imported here: a table can only exist if its library is already loaded.
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
"""Rows converted at a time."""
Chunk = Sequence[Values]


@dataclass(frozen=True)
class Table:
    """Labelled columns, and their rows in order."""

    labels: Sequence[Any]
    """Column labels; usually text."""
    chunks: Callable[[Sequence[int]], Iterable[Chunk]]
    """Iterates over the rows of the columns at the given positions, chunk by chunk."""
    kinds: Sequence[str] | None = None
    """The library's names of the column types; None if the library is Arrow."""
    index_labels: Sequence[Any] = ()
    """Names of the index levels, which look like columns when the table is printed."""


def as_table(given: Any) -> Table | None:
    """Wrap a table of a supported library; None for anything else. Raises `DataError` if the library fails."""
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
    """Turn any exception of the table's library into a `DataError` of one line."""
    try:
        yield
    except (RecsysDistError, MemoryError):
        raise
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"the table cannot be read: {problem}") from error


def _of_arrow(given: Any) -> Table:
    """Wrap an Arrow table, batch or stream; a stream can be read only once."""

    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        batches: Iterable[pa.RecordBatch] = [given] if isinstance(given, pa.RecordBatch) else given
        for batch in given.to_batches() if isinstance(given, pa.Table) else batches:
            for start in range(0, batch.num_rows, CHUNK_ROWS):
                yield [batch.column(place).slice(start, CHUNK_ROWS) for place in places]

    return Table(list(given.schema.names), chunks)


def _of_polars(frame: Any) -> Table:
    """Wrap a DataFrame, or a LazyFrame, which is computed in batches."""
    labels = list(frame.collect_schema().names())

    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        for rows in _polars_slices(frame.select([labels[place] for place in places])):
            yield [_of_polars_series(column) for column in rows.get_columns()]

    return Table(labels, chunks)


def _polars_slices(frame: Any) -> Any:
    if hasattr(frame, "collect_batches"):
        return frame.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True)
    # Older versions compute a LazyFrame as a whole.
    whole = frame.collect() if hasattr(frame, "collect") else frame
    return whole.iter_slices(CHUNK_ROWS)


def _of_polars_series(series: Any) -> Values:
    # Arrow has no 128-bit integers.
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
    """Wrap a Dask DataFrame; its partitions are computed one after the other."""
    empty = _of_pandas(frame._meta)

    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        chosen = frame[[empty.labels[place] for place in places]]
        for number in range(chosen.npartitions):
            yield from _of_pandas(chosen.partitions[number].compute()).chunks(range(len(places)))

    return Table(empty.labels, chunks, empty.kinds, empty.index_labels)
