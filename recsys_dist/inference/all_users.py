"""Lists for all users of a model, block after block into one Parquet file.

B users of a block, I items, n places of a list, N places that are filled
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.inference.order import Order, scorer
from recsys_dist.inference.recommend import best_items, known_users
from recsys_dist.storage.folder import Folder

if TYPE_CHECKING:
    from recsys_dist.inference.model import Model

BLOCK_FLOATS = 1 << 24
"""Scores held at once, 64 MiB: few enough to stay near the caches until the best of them are found, and rows
enough for a product of matrices (measured from 2^22 to 2^25)."""
GROUP_ROWS = 1 << 20
"""Lines that are written together."""
COLUMNS = {
    "user_id": pa.string(),
    "rank": pa.int32(),
    "item_id": pa.string(),
    "title": pa.string(),
    "score": pa.float32(),
    "std": pa.float32(),
}
"""In this order; `std` is left out where the model does not know it."""


def check_lists_file(path: Path) -> None:
    """Raise `ConfigError` where the name of an output file is not that of a Parquet file."""
    if path.suffix != ".parquet":
        raise ConfigError(f"--output {path}: with --all-users the name must end in .parquet")


def write_all_lists(
    model: Model,
    path: Path,
    n: int,
    include_seen: bool,
    order: Order,
    progress: Callable[[str, int, int], None],
) -> int:
    """Write a line for each user and place, users in the order of the model; returns the number of lines.

    Columns: user_id, rank from 1, item_id, title (null where unknown), score (the predicted rating) and, of a
    model that knows it, std, its standard deviation. The file is complete, or as it was before. Raises
    `ConfigError` where n is below 1, or where the order needs an uncertainty that is not known.
    """
    final = path.resolve()
    check_lists_file(final)
    num_users, num_lines = len(model.user_ids), 0
    score, step = scorer(model, order), max(1, BLOCK_FLOATS // model.items.num_rows)
    if order.needs_beliefs:
        step = min(step, model.uncertainty.pairs_at_once())
    schema, titles = _schema(model), model.titles
    with Folder(str(final.parent)).writer(final.name) as stream, pq.ParquetWriter(stream, schema) as writer:
        waiting: list[pa.Table] = []
        for start in range(0, num_users, step):
            stop = min(start + step, num_users)
            user_B = np.arange(start, stop)
            seen = [] if include_seen else [model.train_ratings.of_users(user_B)]
            ranked = best_items(score(known_users(model, user_B, order)), n, seen)
            waiting.append(_lines(model, schema, titles, user_B, *ranked))
            num_lines += len(waiting[-1])
            progress("users", stop, num_users)
            if sum(map(len, waiting)) >= GROUP_ROWS or stop == num_users:
                writer.write_table(pa.concat_tables(waiting))
                waiting.clear()
    return num_lines


def _schema(model: Model) -> pa.Schema:
    return pa.schema([(name, kind) for name, kind in COLUMNS.items() if name != "std" or model.knows_uncertainty])


def _lines(
    model: Model,
    schema: pa.Schema,
    titles: pa.StringArray,
    user_B: NDArray[np.int64],
    item_Bn: torch.Tensor,
    score_Bn: torch.Tensor,
) -> pa.Table:
    is_wanted_Bn = ~score_Bn.isneginf()
    item_N, place_N = item_Bn[is_wanted_Bn].cpu().numpy(), is_wanted_Bn.nonzero()[:, 1].cpu().numpy()
    user_N = np.repeat(user_B, is_wanted_Bn.sum(1).cpu().numpy())
    columns = {
        "user_id": model.user_ids.array.take(pa.array(user_N)),
        "rank": pa.array(place_N + 1, pa.int32()),
        "item_id": model.item_ids.array.take(pa.array(item_N)),
        "title": titles.take(pa.array(item_N)),
        "score": pa.array(model.predict_indices(user_N, item_N)),
    }
    if "std" in schema.names:
        columns["std"] = pa.array(model.std_indices(user_N, item_N))
    return pa.table(columns, schema=schema)
