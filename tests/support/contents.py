"""What a prepared dataset holds, read back by raw ids in the plainest way."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow.parquet as pq

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SPLITS


def contents(dataset: Dataset):
    """Everything in the ratings files by raw ids: {(user, item): (rating, timestamp, split)}."""
    users, items = dataset.ids("users").to_pylist(), dataset.ids("items").to_pylist()
    found = {}
    for split, shard in itertools.product(SPLITS, range(len(dataset.shards("users")))):
        table = pq.read_table(Path(dataset.folder.url) / f"ratings/{split}/{shard:05d}.parquet")
        keys = list(zip(table["user_index"].to_pylist(), table["item_index"].to_pylist(), strict=True))
        assert keys == sorted(set(keys))
        for (user, item), rating, time in zip(keys, table["rating"], table["timestamp"], strict=True):
            assert (users[user], items[item]) not in found
            found[users[user], items[item]] = (rating.as_py(), time.as_py(), split)
    return found


def rejects(dataset: Dataset):
    names = [record.name for record in dataset.manifest.files if record.name.startswith("rejects/")]
    tables = [pq.read_table(Path(dataset.folder.url) / name) for name in names]
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


def digests(dataset: Dataset):
    """Hashes of all files but for the rejects, which name the input files."""
    return {record.name: record.sha256 for record in dataset.manifest.files if "rejects" not in record.name}
