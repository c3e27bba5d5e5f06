"""The ratings of a prepared dataset as other programs read them, and the score of what they predict.

EXPORT_DIR/ratings.npz          shape (users, items); of train and test: user_index, item_index, rating
EXPORT_DIR/train.parquet/       the train ratings once more, for Spark
EXPORT_DIR/digest               of the dataset, written last
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.metrics import ErrorSums


def export(dataset_path: Path, folder: Path) -> Path:
    """Write the train and test ratings as the opponents read them: ratings.npz, and Parquet for Spark."""
    dataset, done = Dataset.open(str(dataset_path)), folder / "digest"
    if done.exists() and done.read_text() == dataset.digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "train.parquet").mkdir(parents=True)
    arrays = {f"{split}_{name}": values for split in ("train", "test") for name, values in columns(dataset, split)}
    np.savez(folder / "ratings.npz", allow_pickle=False, shape=[dataset.num_users, dataset.num_items], **arrays)
    table = pa.table({name.removeprefix("train_"): arrays[name] for name in arrays if name.startswith("train_")})
    # Several files, so that Spark reads on all its threads.
    for part, start in enumerate(range(0, table.num_rows, 1 + table.num_rows // 8)):
        rows = table.slice(start, 1 + table.num_rows // 8)
        pq.write_table(rows, folder / "train.parquet" / f"{part}.parquet")
    done.write_text(dataset.digest)
    return folder


def columns(dataset: Dataset, split: Any) -> list[tuple[str, np.ndarray]]:
    """Name and values of the columns of one split, all shards one after the other."""
    shards = [dataset.ratings(split, shard) for shard in range(len(dataset.shards("users")))]
    kinds = {"user_index": np.int32, "item_index": np.int32, "rating": np.float32}
    return [
        (name, np.concatenate([getattr(shard, name) for shard in shards]).astype(kind))
        for name, kind in kinds.items()
    ]


class Score:
    """The global RMSE of predictions of the test pairs, the same for every opponent."""

    def __init__(self, dataset: Dataset) -> None:
        self.range = dataset.manifest.rating
        self.rating = dict(columns(dataset, "test"))["rating"]

    def __call__(self, predicted: np.ndarray) -> float:
        filled = np.where(np.isnan(predicted), self.range.mean, predicted)
        return ErrorSums.of(filled.clip(self.range.min, self.range.max), self.rating).rmse
