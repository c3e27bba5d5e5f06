"""The model folder: all that prediction needs, in a form that does not depend on how many ranks trained.

    MODEL_DIR/
      model.json          what the model is, and every file with its sha256; written last: no model.json, no model
      users.parquet       copied from the dataset: user_id, num_train; row number = user_index
      items.parquet       copied from the dataset: item_id, title, num_train; row number = item_index
      ratings/00000.safetensors ...            the train ratings by user, copied: what a user has seen
      TABLE/00000.safetensors ...              rows of a table in chunks of CHUNK_ROWS

Every model is bilinear, whatever its kind:

    prediction(u, i) = f(offset + user_bias[u] + item_bias[i] + user_vector[u] . item_vector[i])

with f the output link (families/autorec/network/network.py; the identity for a matrix factorization). Tables:

    users, items                            vector [rows, K], bias [rows]; the last row, one past the last user or
                                            item, stands for those of whom no rating is known
    user_covariances, item_covariances      where the model knows its uncertainty: covariance [rows, T], the upper
                                            triangle over (vector, bias), row by row; or variance [rows, n], the
                                            diagonal alone; the last row is the prior
    user_precisions, item_precisions        precision [rows], where noise differs: how many times as precise the
                                            ratings of a user (or item) are as the rest; the last row is 1
    user_patterns, item_patterns            pattern [U, n], [I, n], where priors are constrained: a new user's
                                            prior mean moves by the sum of its items' rows / sqrt(their number)
    encoder, hidden                         encoder [items, K] and column_bias [items]; bias [K]: with them a
                                            user-AutoRec folds in new users
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from recsys_dist.dataset.blocks import Block, read_block
from recsys_dist.dataset.dataset import Dataset, RatingStats, Shard, Side
from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.model_folder.tables import Table, TableWriter
from recsys_dist.storage.arrow import read_parquet
from recsys_dist.storage.folder import FileRecord, Folder, sync_folder

MODEL_FILE = "model.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PosteriorFoldIn(_Part):
    """A new user is the posterior given the ratings (matrix factorization): one E step."""

    kind: Literal["posterior"] = "posterior"
    noise_variance: float = Field(gt=0)
    prior_mean: tuple[float, ...]
    prior_covariance: tuple[tuple[float, ...], ...]
    user_precision_dof: float | None = Field(default=None, gt=0)
    """nu of the prior Gamma(nu / 2, nu / 2) of a user's precision; None where all precisions are 1."""
    item_precision_dof: float | None = Field(default=None, gt=0)
    """The same of an item's."""


class EncodeFoldIn(_Part):
    """A new user is encoded (user-AutoRec)."""

    kind: Literal["encode"] = "encode"
    hidden_activation: str
    centring: Literal["biases", "mean"] = "biases"
    mean: float
    scale: float = Field(gt=0)
    row_shrinkage: float = Field(ge=0)
    presence: float = 0.0
    length_power: float = 0.0
    mean_length: float = Field(default=1.0, gt=0)
    short_length: float = Field(default=0.0, ge=0)
    """With fewer ratings a user is drawn to the average one: families/autorec/serving/short_rows.py"""
    short_pull: float = Field(default=0.0, ge=0)


class RidgeFoldIn(_Part):
    """A new user is a new column of the decoder, fitted by ridge regression (item-AutoRec)."""

    kind: Literal["ridge"] = "ridge"
    regularization: float = Field(ge=0)
    column_shrinkage: float = Field(ge=0)


FoldIn = PosteriorFoldIn | EncodeFoldIn | RidgeFoldIn


class Provenance(_Part):
    """Where the model comes from."""

    dataset_digest: str
    split_fingerprint: str | None = None
    """Which pairs were for training and which not; None in models of versions that did not note it."""
    recsys_dist: str


class ModelManifest(_Part):
    """The content of model.json."""

    format: Literal["recsys_dist.model"] = "recsys_dist.model"
    format_version: Literal[1] = 1
    kind: str
    step: int = Field(ge=0)
    num_users: int = Field(ge=1)
    num_items: int = Field(ge=1)
    rating: RatingStats
    offset: float
    output_activation: Literal["identity", "sigmoid"]
    fold_in: Annotated[FoldIn, Field(discriminator="kind")]
    user_shards: tuple[Shard, ...]
    config: dict[str, JsonValue]
    provenance: Provenance
    files: tuple[FileRecord, ...]

    @model_validator(mode="after")
    def _shards_cover_the_users(self) -> ModelManifest:
        stops = [shard.stop for shard in self.user_shards]
        if [shard.start for shard in self.user_shards] != [0, *stops[:-1]] or stops[-1:] != [self.num_users]:
            raise ValueError(f"user_shards do not cover the users 0 .. {self.num_users} one after the other")
        return self

    def to_bytes(self) -> bytes:
        """The manifest as it stands on disk; the same content gives the same bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    @property
    def contents_digest(self) -> str:
        """sha256 over the hashes of all files: the identity of the model, wherever and however it was trained."""
        listing = "".join(f"{file.sha256} {file.name}\n" for file in sorted(self.files, key=lambda f: f.name))
        return hashlib.sha256(listing.encode()).hexdigest()


def ratings_name(shard: int) -> str:
    """Name of the train ratings of one user shard."""
    return f"ratings/{shard:05d}.safetensors"


def covariances_of(side: Side) -> str:
    """Name of the table with the covariances of a side."""
    return "user_covariances" if side == "users" else "item_covariances"


def precisions_of(side: Side) -> str:
    """Name of the table with the precisions of a side."""
    return "user_precisions" if side == "users" else "item_precisions"


def patterns_of(side: Side) -> str:
    """Name of the table with what each user (or item) adds to the prior means of the other side."""
    return "user_patterns" if side == "users" else "item_patterns"


class ModelFolder:
    """A model folder, opened for reading."""

    def __init__(self, folder: Folder, manifest: ModelManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._records = {record.name: record for record in manifest.files}

    @classmethod
    def open(cls, url: str, verify: bool = False) -> ModelFolder:
        """Open the model at `url`; with `verify`, check the hash of every file first.

        The tables of ids are checked whenever they are read. Raises `CheckpointError` where there is no complete
        model.
        """
        folder = Folder(url)
        if not folder.exists(MODEL_FILE):
            raise CheckpointError(
                f"{url} holds no {MODEL_FILE}: it is not a model folder; make one with `recsys-dist merge`"
            )
        try:
            manifest = ModelManifest.model_validate_json(folder.read_bytes(MODEL_FILE))
            for record in manifest.files if verify else ():
                folder.checked_copy(record)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            raise CheckpointError(f"{url}/{MODEL_FILE} cannot be used: {where} {reason}") from None
        except DataError as error:
            raise CheckpointError(str(error)) from None
        return cls(folder, manifest)

    def num_rows(self, side: Side) -> int:
        """Users or items."""
        return self.manifest.num_users if side == "users" else self.manifest.num_items

    def has_table(self, name: str) -> bool:
        """Whether the model has a table of that name."""
        return Table.chunk_name(name, 0) in self._records

    def table(self, name: str) -> Table:
        """A table of rows."""
        records: list[FileRecord] = []
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
            # Always checked, as a wrong id or title looks as good as a right one, and these files are small.
            if hashlib.sha256(content).hexdigest() != record.sha256:
                raise DataError("it is damaged: its sha256 differs from the recorded one")
            table = read_parquet(content)
        except (pa.ArrowException, OSError, DataError) as error:
            raise CheckpointError(f"{self.folder.url}/{record.name} cannot be read: {error}") from None
        num_rows = self.num_rows(side)
        if len(table) != num_rows:
            raise CheckpointError(
                f"{self.folder.url}/{record.name} has {len(table)} rows where {MODEL_FILE} says {num_rows}"
            )
        return table


class ModelWriter:
    """Writes the files of a model folder and remembers their records."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.files: list[FileRecord] = []

    @contextmanager
    def table(self, name: str) -> Iterator[TableWriter]:
        """Write a table: append pieces of rows in order."""
        writer = TableWriter(self.folder, name)
        yield writer
        self.files += writer.close()

    def copy(self, source: Folder, record: FileRecord, name: str) -> None:
        """Copy a file under another name, checking on the way that it is the one recorded."""
        digest = hashlib.sha256()
        with source.local_copy(record).open("rb") as stream, self.folder.writer(name) as target:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != record.sha256:
            raise DataError(f"{source.url}/{record.name} is damaged: its sha256 differs from the recorded one")
        self.files.append(record.model_copy(update={"name": name}))

    def copy_dataset(self, dataset: Dataset) -> None:
        """Copy the id tables and the train ratings by user."""
        for side in ("users", "items"):
            self.copy(dataset.folder, dataset.id_file(side), f"{side}.parquet")
        for shard, record in enumerate(dataset.block_files("users")):
            self.copy(dataset.folder, record, ratings_name(shard))


@contextmanager
def new_folder(url: str) -> Iterator[Folder]:
    """A folder that is there at the end of the block, or not at all where the block fails.

    On a local disk it is written beside its final place and renamed; elsewhere it is removed on failure.
    Raises `CheckpointError` where `url` exists already.
    """
    target = Folder(url)
    if target.exists():
        raise CheckpointError(f"{url} exists already; remove it or give another output")
    if not target.is_local:
        try:
            yield target
        except BaseException:
            target.remove()
            raise
        return
    final = target.local_path("")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}."))
    try:
        yield Folder(str(temporary))
        temporary.chmod(0o755)
        temporary.rename(final)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and _is_below(error.filename, temporary):
            # Under the name that was asked for, not the one that is gone.
            place = final / Path(error.filename).relative_to(temporary)
            raise OSError(error.errno, error.strerror, str(place)) from error
        raise
    sync_folder(final.parent)


def _is_below(name: object, folder: Path) -> bool:
    return isinstance(name, str) and Path(name).is_relative_to(folder)
