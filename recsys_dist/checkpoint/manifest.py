"""checkpoint.json: the manifest of one checkpoint, validated before any listed file is opened.

    step-00000010/                                 after 10 whole epochs
    step-00000010-part-0001/                       first save within the epoch after that
      {table}-{start:08d}-{stop:08d}.safetensors   rows start .. stop of one table, all its tensors
      checkpoint.json                              this manifest
      COMMITTED                                    sha256 of checkpoint.json; written last

Steps count whole epochs; (step, part) orders the checkpoints of a run, and so do their names.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from recsys_dist.errors import CheckpointError
from recsys_dist.storage.folder import FileRecord, Folder

MANIFEST = "checkpoint.json"
COMMITTED = "COMMITTED"
MAX_HEADER_BYTES = 1 << 20

Dtype = Literal[
    "bfloat16", "bool", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "uint8"
]  # fmt: skip
Size = Annotated[int, Field(ge=0)]
TableName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class CheckpointName(NamedTuple):
    """Name and order of a checkpoint within its run; `part` 0 is the end of an epoch."""

    step: int
    part: int = 0

    def __str__(self) -> str:
        return f"step-{self.step:08d}" + (f"-part-{self.part:04d}" if self.part else "")

    @classmethod
    def parse(cls, text: str) -> CheckpointName | None:
        """Parse the name of a folder; None if it is not a checkpoint."""
        match = re.fullmatch(r"step-(\d{8,})(?:-part-(\d{4,}))?", text)
        name = cls(int(match[1]), int(match[2] or 0)) if match else None
        return name if str(name) == text else None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorSpec(_Part):
    """One tensor of a table over all ranks: `shape` is [num_rows, ...]."""

    dtype: Dtype
    shape: tuple[Size, ...] = Field(min_length=1)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as a torch dtype."""
        dtype = getattr(torch, self.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.torch_dtype.itemsize


class TableFile(FileRecord):
    """One file of a table: its rows start .. stop."""

    start: int = Field(ge=0)
    stop: int = Field(ge=0)


class TableSpec(_Part):
    """One table over all ranks, and its files in the order of their rows."""

    num_rows: Size
    tensors: dict[str, TensorSpec] = Field(min_length=1)
    files: tuple[TableFile, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of all tensors together."""
        return sum(tensor.row_bytes for tensor in self.tensors.values())

    @model_validator(mode="after")
    def _covers_its_rows(self) -> TableSpec:
        starts, stops = [file.start for file in self.files], [file.stop for file in self.files]
        if starts != [0, *stops][: len(starts)] or [0, *stops][-1] != self.num_rows:
            raise ValueError(f"the files do not cover the rows 0 .. {self.num_rows} exactly once")
        for name, tensor in self.tensors.items():
            if tensor.shape[0] != self.num_rows:
                raise ValueError(f"tensor {name} has {tensor.shape[0]} rows, but the table has {self.num_rows}")
        for file in self.files:
            if file.rows != file.stop - file.start or file.rows == 0:
                raise ValueError(f"{file.name} does not hold the rows {file.start} .. {file.stop}")
            if not 8 <= file.bytes - file.rows * self.row_bytes <= MAX_HEADER_BYTES:
                raise ValueError(f"{file.name} has {file.bytes} bytes, which does not match its rows and shapes")
        return self


class CheckpointManifest(_Part):
    """The content of checkpoint.json."""

    format: Literal["recsys_dist.checkpoint"] = "recsys_dist.checkpoint"
    format_version: Literal[1] = 1
    step: Size
    part: Size = 0
    tables: dict[TableName, TableSpec]
    values: dict[str, JsonValue]
    details: dict[str, JsonValue]

    @model_validator(mode="after")
    def _names_its_files(self) -> CheckpointManifest:
        for table, spec in self.tables.items():
            for file in spec.files:
                if file.name != table_file_name(table, file.start, file.stop):
                    raise ValueError(f"{file.name} is not the name of rows {file.start} .. {file.stop} of {table}")
        return self

    @property
    def files(self) -> list[TableFile]:
        """The files of all tables."""
        return [file for table in self.tables.values() for file in table.files]

    def to_bytes(self) -> bytes:
        """The manifest as written to disk; equal content gives equal bytes."""
        tree = self.model_dump(mode="python")
        return (json.dumps(tree, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def table_file_name(table: str, start: int, stop: int) -> str:
    """Name of the file with the rows start .. stop of a table."""
    return f"{table}-{start:08d}-{stop:08d}.safetensors"


def committed_bytes(manifest: bytes) -> bytes:
    """The content of COMMITTED for a given content of checkpoint.json."""
    return hashlib.sha256(manifest).hexdigest().encode() + b"\n"


def build_manifest(tree: Mapping[str, Any], source: str) -> CheckpointManifest:
    """Validate plain values as a manifest. Raises `CheckpointError` that names `source` and the problem."""
    try:
        return CheckpointManifest.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where} {first['msg'].removeprefix('Value error, ')}".strip()
        raise CheckpointError(f"{source} cannot be used: {reason}") from None


def read_manifest(folder: Folder) -> CheckpointManifest:
    """Read the manifest of a committed checkpoint; check it against COMMITTED and for consistency."""
    source = f"{folder.url}/{MANIFEST}"
    if not folder.exists(COMMITTED):
        raise CheckpointError(
            f"{folder.url} has no {COMMITTED}: it is not a checkpoint, or its save was interrupted"
        )
    data = folder.read_bytes(MANIFEST)
    if folder.read_bytes(COMMITTED) != committed_bytes(data):
        raise CheckpointError(f"{source} is damaged: its sha256 differs from the one in {COMMITTED}")
    try:
        tree = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} is not JSON: {error}") from None
    return build_manifest(tree, source)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
