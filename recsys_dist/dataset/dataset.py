"""The prepared dataset, the only interface between preparation and training.

    DATASET/
      manifest.json       counts, rating range and mean, split rule, shards, and every file with its sha256;
                          written last, so a folder without it is not a dataset
      manifest.sha256     the hash of manifest.json (hashed_file.py)
      users.parquet       row number = user_index: user_id (string, exactly as read), num_train
      items.parquet       row number = item_index, 0 = most rated: item_id, title (null where unknown), num_train
      ratings/{train,valid,test}/00000.parquet ...      user_index, item_index, rating, timestamp (dates and times
                          in seconds since 1970, or in fractions of one if the rule timestamp_ticks is set)
      blocks/{users,items}/00000.safetensors ...        train ratings as CSR (blocks.py)
      rejects/00000.parquet ...                         file, line, text and reason of every rejected row

Shards are canonical: consecutive ranges of rows, fixed at preparation for any number of ranks. Ratings files
follow the user shards, one per shard and split, sorted by (user_index, item_index). Files are found through the
manifest only, never by listing a folder, and are checked against it when they are first read.

Appending ratings (preparation/append.py) numbers new users and items after the existing ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ValidationError

from recsys_dist.dataset.blocks import Block, read_block
from recsys_dist.dataset.hashed_file import read_hashed
from recsys_dist.dataset.manifest import (
    DATASET,
    MANIFEST,
    PREPARING,
    RATINGS,
    SIDES,
    SPLITS,
    Manifest,
    Shard,
    Side,
    Split,
)
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.storage.arrow import open_parquet, read_parquet
from recsys_dist.storage.folder import FileRecord, Folder
from recsys_dist.storage.holdings import Holding, instead_of

VERIFIERS = 8
"""Maximum number of files hashed at the same time."""


@dataclass(frozen=True)
class Ratings:
    """Ratings as parallel arrays, by dense index."""

    user_index: NDArray[np.int64]
    item_index: NDArray[np.int64]
    rating: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rating)


def ratings_name(split: Split, shard: int) -> str:
    """Name of the ratings file of one user shard and split."""
    return f"{RATINGS}/{split}/{shard:05d}.parquet"


def block_name(side: Side, shard: int) -> str:
    """Name of the block file of one shard."""
    return f"blocks/{side}/{shard:05d}.safetensors"


def find_dataset(url: str) -> Folder | None:
    """The folder of the prepared dataset at `url`; None if there is no complete one.

    It is the folder itself, or below it a complete dataset that has not replaced the previous one yet.
    """
    folder = Folder(url)
    if folder.exists(MANIFEST):
        return folder
    key = complete_preparation(folder)
    return None if key is None else folder.child(f"{PREPARING}/{key}/{DATASET}")


def complete_preparation(folder: Folder) -> str | None:
    """The key of a preparation in `folder` that is complete but not published yet; None if there is none."""
    keys = folder.child(PREPARING).names() if folder.exists(PREPARING) else []
    return next((key for key in keys if folder.exists(f"{PREPARING}/{key}/{DATASET}/{MANIFEST}")), None)


class Dataset:
    """A prepared dataset, opened for reading."""

    def __init__(self, folder: Folder, manifest: Manifest, digest: str) -> None:
        self.folder = folder
        self.manifest = manifest
        self.digest = digest
        """sha256 of manifest.json: the identity of the dataset."""
        self._records = {record.name: record for record in manifest.files}
        self._checked: set[str] = set()
        """Files that have passed their hash check."""

    def __repr__(self) -> str:
        counts = self.manifest.num_ratings
        ratings = ", ".join(f"{counts.get(split, 0):,} {split}" for split in SPLITS)
        sides = f"{self.num_users:,} users, {self.num_items:,} items"
        return f"<Dataset {self.folder.url!r}: {sides}; ratings: {ratings}>"

    @classmethod
    def open(cls, url: str, verify: bool = False) -> Dataset:
        """Open the dataset at `url`; with `verify`, check the hash of every file first.

        Raises `DataError` if there is no complete dataset.
        """
        folder = find_dataset(url)
        if folder is None:
            raise DataError(instead_of(url, Holding.DATASET))
        data = read_hashed(folder, MANIFEST)
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DataError(f"{url}/{MANIFEST} cannot be used: {where} {first['msg']}") from None
        dataset = cls(folder, manifest, hashlib.sha256(data).hexdigest())
        if verify:
            dataset.verify()
        return dataset

    def verify(self, progress: Callable[[str, int, int], None] | None = None) -> None:
        """Check size and hash of every file. Raises `DataError` naming the first file that differs.

        `progress` is called with (stage, files done, total files).
        """
        self._require_counts()
        with ThreadPoolExecutor(min(VERIFIERS, os.cpu_count() or 1)) as pool:
            checks = [pool.submit(self.folder.verify, record) for record in self.manifest.files]
            try:
                for done, check in enumerate(checks, 1):
                    check.result()
                    if progress is not None:
                        progress("verify files", done, len(checks))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        self._checked |= self._records.keys()

    def _require_counts(self) -> None:
        """Raise `DataError` if the manifest's totals differ from the counts of its files."""
        manifest = self.manifest
        pairs = [(manifest.num_ratings.get(split, 0), self._rows_in(f"{RATINGS}/{split}/")) for split in SPLITS]
        for side in SIDES:
            pairs += [(self.num_rows(side), self.id_file(side).rows)]
            files = zip(self.shards(side), self.block_files(side), strict=True)
            pairs += [(shard.num_ratings, record.rows) for shard, record in files]
        if any(total != found for total, found in pairs):
            raise DataError(f"{self.folder.url}/{MANIFEST} is damaged: its counts contradict each other")

    def _rows_in(self, prefix: str) -> int:
        return sum(record.rows for record in self.manifest.files if record.name.startswith(prefix))

    def check(self, records: Iterable[FileRecord]) -> None:
        """Check size and hash of the files not checked yet. Raises `DataError` naming the damaged file."""
        for record in records:
            if record.name not in self._checked:
                self.folder.checked_copy(record)
                self._checked.add(record.name)

    @property
    def num_users(self) -> int:
        """Number of users in all splits together."""
        return self.manifest.num_users

    @property
    def num_items(self) -> int:
        """Number of items in all splits together."""
        return self.manifest.num_items

    def num_rows(self, side: Side) -> int:
        """Number of users or items."""
        return self.num_users if side == "users" else self.num_items

    def shards(self, side: Side) -> tuple[Shard, ...]:
        """The canonical shards of one side."""
        return self.manifest.user_shards if side == "users" else self.manifest.item_shards

    def block(self, side: Side, shard: int) -> Block:
        """The train ratings of one shard as CSR."""
        rows, record = self.shards(side)[shard], self._record(block_name(side, shard))
        num_columns = self.num_items if side == "users" else self.num_users
        self.check([record])
        return read_block(self.folder, record, rows.start, rows.num_rows, num_columns)

    def ratings(self, split: Split, shard: int) -> Ratings:
        """The ratings of one split by the users of one user shard."""
        table = self._table(ratings_name(split, shard), ["user_index", "item_index", "rating"])
        return Ratings(
            table["user_index"].to_numpy().astype(np.int64),
            table["item_index"].to_numpy().astype(np.int64),
            table["rating"].to_numpy().astype(np.float32),
        )

    def timed_ratings(self, split: Split, shard: int) -> tuple[Ratings, NDArray[np.int64]]:
        """The ratings of one split and user shard, with their timestamps; 0 for a missing one."""
        times = self._table(ratings_name(split, shard), ["timestamp"])["timestamp"]
        return self.ratings(split, shard), pc.fill_null(times, 0).to_numpy()

    def to_arrow(self, split: Split) -> pa.Table:
        """All ratings of one split with raw ids: user_id, item_id, rating, timestamp (null where missing).

        Raises `ConfigError` for a split of another name, `DataError` if a file is damaged.
        """
        if split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        user_ids, item_ids = self.ids("users"), self.ids("items")
        parts = [self._table(ratings_name(split, shard), None) for shard in range(len(self.shards("users")))]
        return pa.concat_tables(
            pa.table(
                {
                    "user_id": user_ids.take(part["user_index"].combine_chunks()),
                    "item_id": item_ids.take(part["item_index"].combine_chunks()),
                    "rating": part["rating"],
                    "timestamp": part["timestamp"],
                }
            )
            for part in parts
        )

    def id_batches(self, side: Side) -> Iterator[tuple[int, pa.StringArray]]:
        """All raw ids in batches, each with the dense index of its first id."""
        column, start, record = f"{side[:-1]}_id", 0, self.id_file(side)
        self.check([record])
        with self._reading(record.name), open_parquet(self.folder.local_copy(record)) as file:
            for batch in file.iter_batches(columns=[column], use_threads=False):
                yield start, batch[column]
                start += len(batch)
        self._require_rows(side, start)

    def id_slice(self, side: Side, start: int, stop: int) -> pa.StringArray:
        """The raw ids of the rows start .. stop."""
        parts = [
            ids[max(start - first, 0) : stop - first]
            for first, ids in self.id_batches(side)
            if first < stop and first + len(ids) > start
        ]
        return pa.concat_arrays(parts) if parts else pa.array([], pa.string())

    def ids(self, side: Side) -> pa.StringArray:
        """Raw ids; position = dense index."""
        column = "user_id" if side == "users" else "item_id"
        return self._id_table(side)[column].combine_chunks()

    @cached_property
    def user_ids(self) -> list[str]:
        """Raw ids of the users; position = user_index."""
        ids: list[str] = self.ids("users").to_pylist()
        return ids

    @cached_property
    def item_ids(self) -> list[str]:
        """Raw ids of the items; position = item_index."""
        ids: list[str] = self.ids("items").to_pylist()
        return ids

    def num_train(self, side: Side) -> NDArray[np.int64]:
        """Number of train ratings of each user or item; position = dense index."""
        counts: NDArray[np.int64] = self._table(f"{side}.parquet", ["num_train"])["num_train"].to_numpy()
        self._require_rows(side, len(counts))
        return counts

    @cached_property
    def titles(self) -> pa.StringArray:
        """Item titles, null if unknown; position = item_index."""
        return self._id_table("items")["title"].combine_chunks()

    def id_file(self, side: Side) -> FileRecord:
        """The record of users.parquet or items.parquet."""
        return self._record(f"{side}.parquet")

    def block_files(self, side: Side) -> list[FileRecord]:
        """The records of the block files of one side, in shard order."""
        return [self._record(block_name(side, shard)) for shard in range(len(self.shards(side)))]

    def _id_table(self, side: Side) -> Any:
        table = self._table(f"{side}.parquet", None)
        self._require_rows(side, len(table))
        return table

    def _require_rows(self, side: Side, num_rows: int) -> None:
        if num_rows != self.num_rows(side):
            raise DataError(
                f"{self.folder.url}/{side}.parquet has {num_rows} rows, but {MANIFEST} lists {self.num_rows(side)}"
            )

    def _record(self, name: str) -> FileRecord:
        try:
            return self._records[name]
        except KeyError:
            raise DataError(f"{self.folder.url}/{MANIFEST} does not list {name}; prepare again") from None

    def _table(self, name: str, columns: list[str] | None) -> Any:
        self.check([self._record(name)])
        path = self.folder.local_copy(self._record(name))
        with self._reading(name):
            return read_parquet(path, columns)

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Turn Arrow's errors into a `DataError` that names the file."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.folder.url}/{name} cannot be read: {' '.join(str(error).split())}") from None
