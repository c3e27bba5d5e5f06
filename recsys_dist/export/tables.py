"""Tables that several targets have: items, and train ratings.

N train ratings of a shard of users, R items of a block
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from recsys_dist.export.output import ExportWriter
from recsys_dist.inference.catalog import Catalog

ROWS_AT_ONCE = 1 << 16
ITEM_FIELDS = [("item_id", pa.string()), ("title", pa.string()), ("num_train", pa.int64())]
"""Row number: the number of the item."""
RATING_FIELDS = [("user_id", pa.string()), ("item_id", pa.string()), ("rating", pa.float32())]
Values = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def ranges(num_rows: int, step: int = ROWS_AT_ONCE) -> Iterator[tuple[int, int]]:
    """start, stop of blocks of rows, in order."""
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


def item_columns(catalog: Catalog, start: int, stop: int) -> dict[str, pa.Array]:
    """The columns `ITEM_FIELDS` of items start .. stop."""
    part = slice(start, stop)
    counts = catalog.folder.num_train("items")[part]
    return {
        "item_id": catalog.item_ids.array[part],
        "title": catalog.titles[part],
        "num_train": pa.array(counts, pa.int64()),
    }


def vector_type(width: int) -> pa.DataType:
    """The type of a column of vectors [R, width]."""
    # Arrow does not read fixed lists of no numbers back from Parquet.
    return pa.list_(pa.float32(), width or -1)


def vector_column(vector_RK: torch.Tensor) -> pa.Array:
    """A column of vectors."""
    values_RK = vector_RK.float().cpu().contiguous().numpy()
    if values_RK.shape[1] == 0:
        return pa.array([[]] * len(values_RK), vector_type(0))
    return pa.FixedSizeListArray.from_arrays(pa.array(values_RK.ravel()), values_RK.shape[1])


def write_ratings(
    catalog: Catalog, out: ExportWriter, values: Values | None = None, about: Mapping[str, Any] | None = None
) -> int:
    """Write the train ratings as ratings.parquet; returns their number.

    `values` makes a column `value` of the ratings; `about` is the metadata of the file.
    """
    fields = [*RATING_FIELDS, *([("value", pa.float32())] if values is not None else [])]
    users, items, total = catalog.user_ids.array, catalog.item_ids.array, 0
    with out.parquet("ratings.parquet", pa.schema(fields, metadata=dict(about or {}))) as append:
        for shard in range(len(catalog.folder.manifest.user_shards)):
            block = catalog.folder.block(shard)
            user_N = block.start + np.repeat(np.arange(block.num_rows), np.diff(block.indptr))
            rating_N = block.values.astype(np.float32)
            # In parts: ids of all ratings of a shard may be more than Arrow holds in an array, 2 GiB.
            for start, stop in ranges(len(rating_N)):
                part = slice(start, stop)
                columns: dict[str, Any] = {
                    "user_id": users.take(pa.array(user_N[part])),
                    "item_id": items.take(pa.array(block.indices[part].astype(np.int64))),
                    "rating": pa.array(rating_N[part]),
                }
                if values is not None:
                    columns["value"] = pa.array(values(rating_N[part]))
                append(columns)
            total += len(rating_N)
    return total
