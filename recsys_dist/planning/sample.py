"""A dataset like that of a manifest, with a share of its users and items, made from the manifest alone.

The ratings of each pair of a user shard and an item shard are spread evenly over the pairs of their rows, so that
popularity and activity are those of the shards. Their values have no structure.

R rows of a user shard, C rows of an item shard, N ratings
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from recsys_dist.dataset.blocks import Block, write_block
from recsys_dist.dataset.dataset import Dataset, block_name, ratings_name
from recsys_dist.dataset.manifest import (
    MANIFEST,
    SIDES,
    SPLITS,
    Manifest,
    RowCounts,
    Shard,
    Side,
    Split,
    SplitInfo,
)
from recsys_dist.storage.folder import FileRecord, Folder

MOST_DENSITY = 0.999
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def write_sample(manifest: Manifest, shares: Mapping[Side, float], folder: Folder, seed: int = 0) -> Dataset:
    """Write the sample to an empty folder, and open it."""
    rows = {
        "users": _rows(manifest.user_shards, shares["users"]),
        "items": _rows(manifest.item_shards, shares["items"]),
    }
    rng = np.random.default_rng(seed)
    splits: dict[Split, Pairs] = {}
    for split in SPLITS:
        share = (
            manifest.num_ratings.get(split, 0) / max(1, manifest.num_ratings["train"]) if split != "test" else 0.0
        )
        splits[split] = _ratings(manifest, rows, shares, share, rng)
    return _write(manifest, rows, splits, folder)


def _rows(shards: Sequence[Shard], share: float) -> list[tuple[int, int]]:
    """The rows (start, stop) of each shard in the sample."""
    counts = [max(1, round(shard.num_rows * share)) if shard.num_rows else 0 for shard in shards]
    return list(pairwise([0, *accumulate(counts)]))


def _ratings(
    manifest: Manifest,
    rows: Mapping[str, list[tuple[int, int]]],
    shares: Mapping[Side, float],
    share: float,
    rng: np.random.Generator,
) -> Pairs:
    """Users, items and ratings; as many as `share` of the train ratings of the sample."""
    if not share:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    num_train = manifest.num_ratings["train"]
    kept = share * shares["users"] * shares["items"] / num_train
    users, items = [], []
    for user_shard, user_rows in zip(manifest.user_shards, rows["users"], strict=True):
        for item_shard, item_rows in zip(manifest.item_shards, rows["items"], strict=True):
            expected = kept * user_shard.num_ratings * item_shard.num_ratings
            user_N, item_N = _spread(expected, user_rows, item_rows, rng)
            users.append(user_N)
            items.append(item_N)
    user_N, item_N = np.concatenate(users), np.concatenate(items)
    low, high, mean = manifest.rating.min, manifest.rating.max, manifest.rating.mean
    is_high_N = rng.random(len(user_N)) < (mean - low) / max(high - low, 1e-9)
    return user_N, item_N, np.where(is_high_N, high, low).astype(np.float32)


def _spread(
    expected: float, user_rows: tuple[int, int], item_rows: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """About `expected` distinct pairs of some users and items."""
    num_users, num_items = user_rows[1] - user_rows[0], item_rows[1] - item_rows[0]
    num_pairs = num_users * num_items
    if not num_pairs or not expected:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    density = min(MOST_DENSITY, expected / num_pairs)
    # Distances between successes of independent trials, a few more than needed.
    count = int(num_pairs * density + 6 * np.sqrt(num_pairs * density) + 10)
    place_N = np.cumsum(rng.geometric(density, count)) - 1
    user_N, item_N = np.divmod(place_N[place_N < num_pairs], num_items)
    return user_N + user_rows[0], item_N + item_rows[0]


def _write(
    manifest: Manifest,
    rows: Mapping[str, list[tuple[int, int]]],
    splits: Mapping[Split, Pairs],
    folder: Folder,
) -> Dataset:
    num_users, num_items = rows["users"][-1][1], rows["items"][-1][1]
    user_N, item_N, rating_N = splits["train"]
    by_user = sparse.csr_matrix((rating_N, (user_N, item_N)), shape=(num_users, num_items))
    by_user.sort_indices()
    files: list[FileRecord] = []
    shards: dict[str, list[Shard]] = {}
    for side, matrix in zip(SIDES, (by_user, by_user.T.tocsr()), strict=True):
        length_R = np.diff(matrix.indptr)
        shards[side] = [
            Shard(start=start, stop=stop, num_ratings=int(length_R[start:stop].sum()))
            for start, stop in rows[side]
        ]
        files.append(_write_ids(folder, side, length_R))
        files += list(_write_blocks(folder, side, matrix, shards[side]))
    for split, pairs in splits.items():
        files += list(_write_ratings(folder, split, pairs, shards["users"]))
    counts = {split: len(pairs[0]) for split, pairs in splits.items()}
    total = sum(counts.values())
    written = manifest.model_copy(
        update={
            "num_users": num_users,
            "num_items": num_items,
            "num_ratings": counts,
            "rows": RowCounts(read=total, kept=total, rejected={}),
            "split": SplitInfo(rule=manifest.split.rule, fingerprint=hashlib.sha256(b"sample").hexdigest()),
            "grown_from": (),
            "user_shards": tuple(shards["users"]),
            "item_shards": tuple(shards["items"]),
            "files": tuple(files),
        }
    )
    folder.write_bytes(MANIFEST, written.to_bytes())
    return Dataset.open(folder.url)


def _write_ids(folder: Folder, side: Side, length_R: NDArray[np.integer]) -> FileRecord:
    numbers = np.arange(len(length_R)).astype(str)
    columns = {f"{side[:-1]}_id": pa.array(numbers), "num_train": length_R.astype(np.int64)}
    if side == "items":
        columns["title"] = pa.nulls(len(length_R), pa.string())
    return _write_table(folder, f"{side}.parquet", columns)


def _write_blocks(
    folder: Folder, side: Side, matrix: sparse.csr_matrix, shards: Sequence[Shard]
) -> Iterator[FileRecord]:
    for number, shard in enumerate(shards):
        part = matrix[shard.start : shard.stop]
        block = Block(shard.start, part.indptr.astype(np.int64), part.indices.astype(np.int32), part.data)
        yield write_block(folder, block_name(side, number), block)


def _write_ratings(folder: Folder, split: Split, pairs: Pairs, shards: Sequence[Shard]) -> Iterator[FileRecord]:
    """One file for each user shard, sorted by user and item."""
    user_N, item_N, rating_N = pairs
    order_N = np.lexsort([item_N, user_N])
    user_N, item_N, rating_N = user_N[order_N], item_N[order_N], rating_N[order_N]
    edges = np.searchsorted(user_N, [shard.start for shard in shards] + [shards[-1].stop])
    for number, (first, last) in enumerate(pairwise(edges.tolist())):
        columns = {
            "user_index": user_N[first:last].astype(np.int32),
            "item_index": item_N[first:last].astype(np.int32),
            "rating": rating_N[first:last],
            "timestamp": pa.nulls(last - first, pa.int64()),
        }
        yield _write_table(folder, ratings_name(split, number), columns)


def _write_table(folder: Folder, name: str, columns: Mapping[str, object]) -> FileRecord:
    table, sink = pa.table(dict(columns)), pa.BufferOutputStream()
    pq.write_table(table, sink)
    return folder.write_bytes(name, sink.getvalue().to_pybytes(), rows=len(table))
