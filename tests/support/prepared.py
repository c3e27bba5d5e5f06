"""Write a prepared dataset from plain arrays, in the plainest way: the readable reference of the format."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from recsys_dist.dataset.blocks import Block, write_block
from recsys_dist.dataset.dataset import Dataset, block_name, ratings_name
from recsys_dist.dataset.manifest import (
    MANIFEST,
    SIDES,
    SPLITS,
    Manifest,
    RatingStats,
    RowCounts,
    Shard,
    SplitInfo,
)
from recsys_dist.storage.folder import Folder


def write_dataset(
    path: Path,
    user_index: np.ndarray,
    item_index: np.ndarray,
    rating: np.ndarray,
    split: np.ndarray,
    num_users: int | None = None,
    num_items: int | None = None,
    num_shards: int = 4,
) -> Dataset:
    """`split` holds 0 (train), 1 (valid) or 2 (test) for each rating. Raw ids are u0, u1, ... and i0, i1, ..."""
    folder = Folder(str(path))
    order = np.lexsort([item_index, user_index])
    user_index, item_index = user_index[order].astype(np.int64), item_index[order].astype(np.int64)
    rating, split = rating[order].astype(np.float32), split[order]
    sizes = {"users": num_users or int(user_index.max()) + 1, "items": num_items or int(item_index.max()) + 1}
    train = split == 0
    csr = sparse.csr_matrix(
        (rating[train], (user_index[train], item_index[train])), shape=(sizes["users"], sizes["items"])
    )
    csr.sort_indices()
    sides = {"users": csr, "items": csr.T.tocsr()}
    files, shards = [], {}
    for side in SIDES:
        matrix = sides[side]
        files.append(_write_ids(folder, side, np.diff(matrix.indptr)))
        shards[side] = _cut(np.diff(matrix.indptr), num_shards)
        for number, shard in enumerate(shards[side]):
            rows = matrix[shard.start : shard.stop]
            block = Block(shard.start, rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data)
            files.append(write_block(folder, block_name(side, number), block))
    for code, name in enumerate(SPLITS):
        for number, shard in enumerate(shards["users"]):
            mine = (split == code) & (user_index >= shard.start) & (user_index < shard.stop)
            columns = {
                "user_index": user_index[mine].astype(np.int32),
                "item_index": item_index[mine].astype(np.int32),
                "rating": rating[mine],
                "timestamp": pa.nulls(int(mine.sum()), pa.int64()),
            }
            files.append(_write_table(folder, ratings_name(name, number), pa.table(columns)))
    manifest = Manifest(
        num_users=sizes["users"],
        num_items=sizes["items"],
        num_ratings={name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        rating=RatingStats(
            min=float(rating.min()), max=float(rating.max()), mean=float(rating[train].mean(dtype=np.float64))
        ),
        rows=RowCounts(read=len(rating), kept=len(rating), rejected={}),
        split=SplitInfo(
            rule={"kind": "given"},
            fingerprint=hashlib.sha256(np.stack([user_index, item_index, split]).tobytes()).hexdigest(),
        ),
        user_shards=tuple(shards["users"]),
        item_shards=tuple(shards["items"]),
        files=tuple(files),
    )
    folder.write_bytes(MANIFEST, manifest.to_bytes())
    return Dataset.open(str(path))


def _cut(ratings_per_row: np.ndarray, num_shards: int) -> list[Shard]:
    """Consecutive ranges of rows with about equal numbers of ratings."""
    cumulative = np.concatenate([[0], np.cumsum(ratings_per_row)])
    targets = cumulative[-1] * np.arange(1, num_shards) / num_shards
    cuts = [0, *np.searchsorted(cumulative, targets), len(ratings_per_row)]
    return [
        Shard(start=int(a), stop=int(b), num_ratings=int(cumulative[b] - cumulative[a]))
        for a, b in itertools.pairwise(cuts)
    ]


def _write_ids(folder: Folder, side: str, num_train: np.ndarray):
    letter = side[0]
    columns: dict[str, Any] = {f"{side[:-1]}_id": [f"{letter}{row}" for row in range(len(num_train))]}
    if side == "items":
        columns["title"] = [f"Film {row}" if row % 10 else None for row in range(len(num_train))]
    columns["num_train"] = num_train.astype(np.int64)
    return _write_table(folder, f"{side}.parquet", pa.table(columns))


def _write_table(folder: Folder, name: str, table: pa.Table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return folder.write_bytes(name, sink.getvalue().to_pybytes(), rows=len(table))


def low_rank_ratings(
    num_users: int, num_items: int, num_ratings: int, rank: int = 3, noise: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (user, item, rating) on a 1 .. 5 scale in half steps, low rank plus noise."""
    rng = np.random.default_rng(seed)
    weight = 1.0 / (np.arange(num_items) + 5.0)
    user = rng.integers(0, num_users, num_ratings)
    item = rng.choice(num_items, num_ratings, p=weight / weight.sum())
    user, item = np.divmod(np.unique(user * num_items + item), num_items)
    user_taste = rng.normal(0, 0.6, (num_users, rank))
    item_taste = rng.normal(0, 0.6, (num_items, rank))
    bias = rng.normal(0, 0.4, num_users)[user] + rng.normal(0, 0.4, num_items)[item]
    truth = 3.2 + bias + np.einsum("nk,nk->n", user_taste[user], item_taste[item])
    rating = np.clip(np.round(2 * (truth + rng.normal(0, noise, len(user)))) / 2, 1, 5).astype(np.float32)
    return user, item, rating


def small_dataset(
    path: Path, num_users: int = 120, num_items: int = 60, num_ratings: int = 3000, num_shards: int = 4
) -> Dataset:
    """A learnable dataset with all three splits, made in milliseconds."""
    user, item, rating = low_rank_ratings(num_users, num_items, num_ratings)
    draw = np.random.default_rng(1).random(len(user))
    split = np.where(draw < 0.8, 0, np.where(draw < 0.9, 1, 2))
    return write_dataset(path, user, item, rating, split, num_users, num_items, num_shards)
