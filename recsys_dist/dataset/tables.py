"""Writes the Parquet tables of a prepared dataset: ids, ratings, rejects. See dataset.py for their columns."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import INT32_COLUMNS
from recsys_dist.dataset.manifest import Side
from recsys_dist.storage.folder import FileRecord, Folder

ROW_GROUP_ROWS = 1 << 20
REJECTS_SCHEMA = pa.schema(
    [("file", pa.string()), ("line", pa.int64()), ("text", pa.string()), ("reason", pa.string())]
)


def index_dtype(num_rows: int) -> type[np.int32] | type[np.int64]:
    """The smallest integer type that holds the indices of `num_rows` users or items."""
    return np.int32 if num_rows <= INT32_COLUMNS else np.int64


def id_schema(side: Side) -> pa.Schema:
    """The schema of users.parquet or items.parquet."""
    title = [("title", pa.string())] if side == "items" else []
    return pa.schema([(f"{side[:-1]}_id", pa.string()), *title, ("num_train", pa.int64())])


def write_ratings(
    folder: Folder,
    name: str,
    user_index: NDArray[Any],
    item_index: NDArray[Any],
    rating: NDArray[np.float32],
    timestamp: NDArray[np.int64] | None,
) -> FileRecord:
    """Write the ratings of one user shard and split, sorted by (user_index, item_index)."""
    times = pa.nulls(len(rating), pa.int64()) if timestamp is None else pa.array(timestamp)
    columns = {"user_index": user_index, "item_index": item_index, "rating": rating, "timestamp": times}
    sink = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        sink,
        row_group_size=ROW_GROUP_ROWS,
        # Sorted or nearly sorted columns: deltas are smaller and faster than snappy alone.
        use_dictionary=["rating"],
        column_encoding=dict.fromkeys(["user_index", "item_index", "timestamp"], "DELTA_BINARY_PACKED"),
        compression="snappy",
    )
    return folder.write_bytes(name, sink.getvalue(), rows=len(rating))


def write_table(folder: Folder, name: str, schema: pa.Schema, parts: Iterable[pa.Table]) -> FileRecord:
    """Write parts one after the other; the file depends on their rows, not on where the parts are cut."""
    num_rows = 0
    with folder.writer(name) as stream, pq.ParquetWriter(stream, schema) as writer:
        for table in _regroup(parts, schema):
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            num_rows += len(table)
    return folder.record(name, num_rows)


def _regroup(parts: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `ROW_GROUP_ROWS` rows, except the last."""
    waiting = schema.empty_table()
    for part in parts:
        waiting = pa.concat_tables([waiting, part])
        while len(waiting) >= ROW_GROUP_ROWS:
            yield waiting.slice(0, ROW_GROUP_ROWS).combine_chunks()
            waiting = waiting.slice(ROW_GROUP_ROWS)
    if len(waiting):
        yield waiting.combine_chunks()
