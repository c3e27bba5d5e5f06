"""Tables in safetensors files with a fixed number of rows each: `TABLE/00000.safetensors`, `TABLE/00001...`.

Chunks depend only on the number of rows and their size, so the same rows give the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.storage.folder import FileRecord, Folder

CHUNK_ROWS, CHUNK_BYTES = 65_536, 1 << 29
"""Largest chunk. Rows of up to 8 KiB reach the first bound, longer ones the second."""


@dataclass(frozen=True)
class Table:
    """A stored table. Chunks are memory-mapped."""

    folder: Folder
    name: str
    records: tuple[FileRecord, ...]
    _chunks: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict, repr=False)

    @staticmethod
    def chunk_name(table: str, chunk: int) -> str:
        """Name of the file of one chunk."""
        return f"{table}/{chunk:05d}.safetensors"

    @property
    def num_rows(self) -> int:
        """Number of rows in all chunks."""
        return sum(record.rows for record in self.records)

    def chunks(self) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
        """First row and tensors [rows, ...] of each chunk, in order."""
        start = 0
        for number, record in enumerate(self.records):
            yield start, self._chunk(number)
            start += record.rows

    def take(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The given rows (int64 [n] on the CPU, in any order): each tensor [n, ...]."""
        edges = torch.from_numpy(np.cumsum([record.rows for record in self.records]))
        chunk_of_row = torch.bucketize(rows, edges, right=True)
        taken = {name: tensor.new_empty((len(rows), *tensor.shape[1:])) for name, tensor in self._chunk(0).items()}
        for number in chunk_of_row.unique().tolist():
            here = chunk_of_row == number
            start = int(edges[number]) - self.records[number].rows
            for name, tensor in self._chunk(number).items():
                taken[name][here] = tensor[rows[here] - start]
        return taken

    def _chunk(self, number: int) -> dict[str, torch.Tensor]:
        if number not in self._chunks:
            self._chunks[number] = _read_chunk(self.folder, self.records[number])
        return self._chunks[number]


def _read_chunk(folder: Folder, record: FileRecord) -> dict[str, torch.Tensor]:
    try:
        with safe_open(folder.local_copy(record), framework="pt", device="cpu") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, DataError, OSError) as error:
        raise CheckpointError(f"{folder.url}/{record.name} cannot be read: {error}") from None
    if not tensors or any(tensor.ndim == 0 or len(tensor) != record.rows for tensor in tensors.values()):
        raise CheckpointError(f"{folder.url}/{record.name} has other rows than recorded; write it again")
    return tensors


class TableWriter:
    """Writes a table from consecutive pieces of any length."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._pending: list[dict[str, torch.Tensor]] = []
        self._num_pending = 0
        self._num_rows = 0
        self._records: list[FileRecord] = []

    def append(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Append rows: each tensor [n, ...]. Raises `CheckpointError` if a number is not finite."""
        for name, tensor in tensors.items():
            self._require_finite(name, tensor)
        rows = len(next(iter(tensors.values())))
        row_bytes = sum(tensor[:1].nbytes for tensor in tensors.values()) or 1
        chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes))
        self._pending.append(dict(tensors))
        self._num_pending += rows
        self._num_rows += rows
        while self._num_pending >= chunk_rows:
            self._flush(chunk_rows)

    def close(self) -> list[FileRecord]:
        """Write the remaining rows; returns the records of all chunks."""
        if self._num_pending:
            self._flush(self._num_pending)
        return self._records

    def _require_finite(self, name: str, tensor: torch.Tensor) -> None:
        is_finite = torch.isfinite(tensor)
        if not is_finite.all():
            row = self._num_rows + int((~is_finite).nonzero()[0, 0])
            raise CheckpointError(
                f"{name} of row {row} of {self._name} is not a finite number; nothing is written"
            )

    def _flush(self, rows: int) -> None:
        joined = {name: torch.cat([piece[name] for piece in self._pending]) for name in self._pending[0]}
        chunk = {name: tensor[:rows].contiguous() for name, tensor in joined.items()}
        name = Table.chunk_name(self._name, len(self._records))
        self._records.append(self._folder.write_bytes(name, save(chunk), rows=rows))
        self._pending = [{name: tensor[rows:] for name, tensor in joined.items()}]
        self._num_pending -= rows
