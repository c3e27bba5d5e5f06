"""The model folder: everything that prediction needs, independent of the number of ranks in training.

    MODEL_DIR/
      model.json          manifest with the sha256 of every file; written last: without it there is no model
      users.parquet       copied from the dataset: user_id, num_train; row number = user_index
      items.parquet       copied from the dataset: item_id, title, num_train; row number = item_index
      ratings/00000.safetensors ...            the train ratings by user, copied: the items a user has seen
      TABLE/00000.safetensors ...              rows of a table in chunks, see tables.py

The tables and the `facts` in model.json depend on the model family: see its `facts` module.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from recsys_dist.dataset.blocks import Block, read_block
from recsys_dist.dataset.manifest import Side
from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.model_folder.manifest import MODEL_FILE, ModelManifest, ratings_name
from recsys_dist.model_folder.tables import Table
from recsys_dist.storage.arrow import read_parquet
from recsys_dist.storage.folder import FileRecord, Folder
from recsys_dist.storage.holdings import Holding, instead_of
from recsys_dist.strict_model import StrictT, first_problem, validated


class ModelFolder:
    """A model folder, opened for reading. The tables of a part of it are below `prefix`, see parts.py."""

    def __init__(self, folder: Folder, manifest: ModelManifest, prefix: str = "") -> None:
        self.folder = folder
        self.manifest = manifest
        self._prefix = prefix
        self._records = {record.name: record for record in manifest.files}

    @classmethod
    def open(cls, url: str, verify: bool = False) -> ModelFolder:
        """Open the model at `url`; with `verify`, check the hash of every file first.

        Id tables are checked whenever they are read. Raises `CheckpointError` if there is no complete model.
        """
        folder = Folder(url)
        if not folder.exists(MODEL_FILE):
            raise CheckpointError(instead_of(url, Holding.MODEL))
        try:
            manifest = ModelManifest.model_validate_json(folder.read_bytes(MODEL_FILE))
            for record in manifest.files if verify else ():
                folder.checked_copy(record)
        except ValidationError as error:
            raise CheckpointError(f"{url}/{MODEL_FILE} cannot be used: {first_problem(error)}") from None
        except DataError as error:
            raise CheckpointError(str(error)) from None
        return cls(folder, manifest)

    def facts(self, kind: type[StrictT]) -> StrictT:
        """The facts that the family recorded for its scorer. Raises `CheckpointError` if they are not a `kind`."""
        cannot = f"{self.folder.url}/{MODEL_FILE} cannot be used: facts."
        return validated(kind, self.manifest.facts, lambda problem: CheckpointError(cannot + problem))

    def num_rows(self, side: Side) -> int:
        """Number of users or items."""
        return self.manifest.num_users if side == "users" else self.manifest.num_items

    def has_table(self, name: str) -> bool:
        """Whether the model has a table of that name."""
        return Table.chunk_name(self._prefix + name, 0) in self._records

    def table(self, name: str) -> Table:
        """A table of rows."""
        records, name = list[FileRecord](), self._prefix + name
        while (chunk := Table.chunk_name(name, len(records))) in self._records:
            records.append(self._records[chunk])
        if not records:
            raise CheckpointError(f"{self.folder.url}/{MODEL_FILE} lists no table {name}; merge again")
        return Table(self.folder, name, tuple(records))

    def block(self, shard: int) -> Block:
        """The train ratings of one user shard."""
        rows, record = self.manifest.user_shards[shard], self._record(ratings_name(shard))
        try:
            return read_block(self.folder, record, rows.start, rows.num_rows, self.num_rows("items"))
        except DataError as error:
            raise CheckpointError(str(error)) from None

    def ids(self, side: Side) -> pa.StringArray:
        """Raw ids; position = dense index."""
        return self._id_table(side)["user_id" if side == "users" else "item_id"].combine_chunks()

    def num_train(self, side: Side) -> NDArray[np.int64]:
        """Train ratings of each user or item; position = dense index."""
        counts: NDArray[np.int64] = self._id_table(side)["num_train"].to_numpy()
        return counts

    @property
    def titles(self) -> pa.StringArray:
        """Item titles, null where unknown; position = item_index."""
        return self._id_table("items")["title"].combine_chunks()

    def _record(self, name: str) -> FileRecord:
        try:
            return self._records[name]
        except KeyError:
            raise CheckpointError(f"{self.folder.url}/{MODEL_FILE} does not list {name}; merge again") from None

    def _id_table(self, side: Side) -> Any:
        return self._id_tables[side]

    @cached_property
    def _id_tables(self) -> dict[Side, Any]:
        return {"users": self._read_ids("users"), "items": self._read_ids("items")}

    def _read_ids(self, side: Side) -> Any:
        record = self._record(f"{side}.parquet")
        try:
            content = self.folder.local_copy(record).read_bytes()
            # Always checked: a wrong id or title cannot be recognised, and these files are small.
            if hashlib.sha256(content).hexdigest() != record.sha256:
                raise DataError("it is damaged: its sha256 differs from the recorded one")
            table = read_parquet(content)
        except (pa.ArrowException, OSError, DataError) as error:
            raise CheckpointError(f"{self.folder.url}/{record.name} cannot be read: {error}") from None
        num_rows = self.num_rows(side)
        if len(table) != num_rows:
            raise CheckpointError(
                f"{self.folder.url}/{record.name} has {len(table)} rows, but {MODEL_FILE} says {num_rows}"
            )
        return table
