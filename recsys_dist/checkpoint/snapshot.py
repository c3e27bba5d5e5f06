"""One rank's share of a checkpoint: taken from the trainer, then written as files.

In: a `TrainerState`. Out: files, each with a range of rows of one table, and their records. Numbers that are not
finite are never saved. Writing a copy needs no collectives and computes nothing, so that a thread can do it while
the main thread trains: hashing and writing files release the interpreter's lock.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import JsonValue
from safetensors.torch import save as to_safetensors

from recsys_dist.checkpoint.manifest import TableFile, table_file_name
from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.errors import TrainingError
from recsys_dist.storage.folder import Folder

FILE_BYTES = 64 << 20
"""Approximate size of a file. Writing holds three copies of it at a time, besides the rows themselves."""
HEADER_BYTES = 1 << 16
"""Upper bound for the names and shapes in a file."""


@dataclass(frozen=True)
class Piece:
    """The content of one file: copies of rows `start .. stop` of a table, on the CPU."""

    table: str
    start: int
    stop: int
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Snapshot:
    """What one rank saves: replicated values, the specs of its tables (`num_rows`, `tensors`), and its rows."""

    values: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    pieces: Iterable[Piece]
    num_bytes: int
    """Of all ranks together: the same on every rank, also on one without rows."""

    @classmethod
    def of(cls, state: TrainerState) -> Snapshot:
        """The state itself: rows are copied one file at a time, when they are written.

        Raises `TrainingError` if a value is not finite; writing or copying raises it if a row is not.
        """
        tables = {name: _spec(rows) for name, rows in state.tables.items()}
        return cls(plain(state.values, "the state"), tables, _Pieces(state.tables), num_bytes(state))

    def copied(self) -> Snapshot:
        """A copy on the CPU, which training leaves alone. Raises `TrainingError` if a row is not finite."""
        return replace(self, pieces=list(self.pieces))

    def digest(self) -> str:
        """Hash of the values, which must be the same on all ranks."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Folder, is_given_up: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Write the rows; returns the specs of the tables with this rank's files.

        Ends early, between two files, with a `TrainingError` once `is_given_up`.
        """
        files: dict[str, list[dict[str, Any]]] = {table: [] for table in self.tables}
        for piece in self.pieces:
            if is_given_up():
                raise TrainingError(f"{folder.url} was given up")
            files[piece.table].append(_write_file(folder, piece).model_dump())
        return {table: {**spec, "files": files[table]} for table, spec in self.tables.items()}


def plain(values: Mapping[str, JsonValue], whose: str) -> dict[str, Any]:
    """The values as JSON reads them back. Raises `TrainingError` if one is not finite, since JSON has no NaN."""
    try:
        tree: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    except ValueError as error:
        raise TrainingError(f"a value of {whose} is not finite: {error}; nothing is saved") from None
    return tree


def num_bytes(state: TrainerState) -> int:
    """Bytes of the rows of all ranks together: the same on every rank."""
    return sum(
        rows.num_rows * math.prod(tensor.shape[1:]) * tensor.element_size()
        for rows in state.tables.values()
        for tensor in rows.tensors.values()
    )


@dataclass(frozen=True)
class _Pieces:
    """The files of this rank, each copied when it is its turn."""

    tables: Mapping[str, TableRows]

    def __iter__(self) -> Iterator[Piece]:
        for table, rows in self.tables.items():
            for start, stop in _file_ranges(rows):
                yield _copied(table, rows, start, stop)


def _spec(rows: TableRows) -> dict[str, Any]:
    tensors = {
        name: {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": [rows.num_rows, *tensor.shape[1:]]}
        for name, tensor in rows.tensors.items()
    }
    return {"num_rows": rows.num_rows, "tensors": tensors}


def _file_ranges(rows: TableRows) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of global rows, each of about `FILE_BYTES` at most."""
    row_bytes = sum(tensor[:1].nbytes for tensor in rows.tensors.values())
    step = max(1, FILE_BYTES // max(1, row_bytes))
    for start in range(rows.start, rows.stop, step):
        yield start, min(start + step, rows.stop)


def _copied(table: str, rows: TableRows, start: int, stop: int) -> Piece:
    # Copied in any case, since safetensors refuses views that share memory.
    tensors = {
        name: tensor.detach()[start - rows.start : stop - rows.start].to("cpu", copy=True).contiguous()
        for name, tensor in rows.tensors.items()
    }
    for name, tensor in tensors.items():
        _require_finite(tensor, table, name, start)
    return Piece(table, start, stop, tensors)


def _require_finite(tensor: torch.Tensor, table: str, name: str, start: int) -> None:
    # The extremes are NaN if a number is. Finding them takes a tenth of the time of a test of each number.
    if not tensor.is_floating_point() or not tensor.numel() or torch.stack(torch.aminmax(tensor)).isfinite().all():
        return
    row = start + int((~torch.isfinite(tensor)).nonzero()[0, 0])
    raise TrainingError(f"{name} of {table} is not finite at row {row}: training diverged; nothing is saved")


def _write_file(folder: Folder, piece: Piece) -> TableFile:
    name = table_file_name(piece.table, piece.start, piece.stop)
    record = folder.write_bytes(name, _serialized(piece.tensors), rows=piece.stop - piece.start)
    return TableFile(**record.model_dump(), start=piece.start, stop=piece.stop)


def _serialized(tensors: dict[str, torch.Tensor]) -> bytes:
    """The bytes of a file. Raises an out-of-memory error if they do not fit."""
    size = sum(tensor.nbytes for tensor in tensors.values())
    # safetensors holds the bytes twice and aborts the process if memory runs out, so test the allocation first.
    room = [torch.empty(size + HEADER_BYTES, dtype=torch.uint8, device="cpu") for _ in range(2)]
    del room
    return to_safetensors(tensors)
