"""Sparse blocks: the train ratings of a consecutive range of users (or items) as CSR in one safetensors file.

indptr  int64   [rows + 1]   row r holds the entries indptr[r] .. indptr[r + 1]
indices int32   [entries]    column of each entry, ascending within a row (int64 where columns pass 2^31)
values  float32 [entries]    the rating as read
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import save

from recsys_dist.errors import DataError
from recsys_dist.storage.folder import FileRecord, Folder

INT32_COLUMNS = 2**31
_DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("<i1"),
    "U64": np.dtype("<u8"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("<u1"),
    "F32": np.dtype("<f4"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
HEADER_ALIGNMENT = 8


@dataclass(frozen=True)
class Block:
    """CSR rows `start .. start + len(indptr) - 1` of one side; arrays may be memory-mapped and read-only."""

    start: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32] | NDArray[np.int64]
    values: NDArray[np.float32]

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def stop(self) -> int:
        """One past the last row."""
        return self.start + self.num_rows

    @property
    def num_ratings(self) -> int:
        """Number of entries."""
        return len(self.values)

    def within(self, start: int, stop: int) -> Block:
        """Restrict the block to the rows in start .. stop; entries are views."""
        start, stop = max(start, self.start), min(stop, self.stop)
        indptr = self.indptr[start - self.start : stop - self.start + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        return Block(start, indptr - indptr[0], self.indices[entries], self.values[entries])

    def only(self, wanted_N: NDArray[np.bool_]) -> Block:
        """The same rows with the wanted entries alone."""
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(wanted_N)])[self.indptr]
        return Block(self.start, indptr, self.indices[wanted_N], self.values[wanted_N])


def write_block(folder: Folder, name: str, block: Block) -> FileRecord:
    """Write one block; `rows` in its record counts ratings."""
    arrays = {
        "indptr": np.ascontiguousarray(block.indptr, np.int64),
        "indices": np.ascontiguousarray(block.indices),
        "values": np.ascontiguousarray(block.values, np.float32),
    }
    data = arrays_to_bytes(arrays, {"start": str(block.start)})
    return folder.write_bytes(name, data, rows=block.num_ratings)


def arrays_to_bytes(arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> bytes:
    """Encode one-dimensional arrays as a safetensors file."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(save(contiguous, metadata=metadata))


def write_arrays(stream: IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one-dimensional arrays as a safetensors file, without building it in memory."""
    # Widest type first, so that every array is aligned to its item size.
    ordered = dict(sorted(arrays.items(), key=lambda entry: -entry[1].itemsize))
    header, stop = {}, 0
    for name, array in ordered.items():
        start, stop = stop, stop + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": [len(array)], "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    stream.write(struct.pack("<Q", len(text)) + text)
    for array in ordered.values():
        stream.write(np.ascontiguousarray(array).data)


def read_block(folder: Folder, record: FileRecord, start: int, num_rows: int, num_columns: int) -> Block:
    """Read one block, memory-mapped.

    Raises `DataError` if the file does not match the manifest.
    """
    path = folder.local_copy(record)
    try:
        arrays = array_views(_map_file(path))
        block = Block(start, arrays["indptr"], arrays["indices"], arrays["values"])
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        raise DataError(f"{folder.url}/{record.name} is not a block file: {error}") from None
    if block.num_rows != num_rows or block.num_ratings != record.rows or block.indptr[-1] != record.rows:
        raise DataError(
            f"{folder.url}/{record.name} does not hold the rows that the manifest lists; prepare again"
        )
    if not _is_sound(block, num_columns):
        raise DataError(f"{folder.url}/{record.name} is damaged: its entries do not form rows; prepare again")
    return block


def _is_sound(block: Block, num_columns: int) -> bool:
    """Whether `indptr` and `indices` stay within bounds; compiled loops do not check them."""
    indptr, indices = block.indptr, block.indices
    if (indptr.dtype.kind, indices.dtype.kind, block.values.dtype.kind) != ("i", "i", "f"):
        return False
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any() or len(indices) != len(block.values):
        return False
    return len(indices) == 0 or (indices.min() >= 0 and indices.max() < num_columns)


def read_arrays(folder: Folder, name: str) -> dict[str, Any]:
    """The arrays of a safetensors file, memory-mapped if the folder is local; see `array_views`.

    Meant for reading a few of the arrays. The mapping keeps a file descriptor open.
    """
    if folder.is_local:
        # Arrow prefetches the whole file when it maps it, which takes ten times as long.
        with folder.local_path(name).open("rb") as file:
            return array_views(np.frombuffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), np.uint8))
    return array_views(np.frombuffer(folder.read_bytes(name), np.uint8))


def _map_file(path: Path) -> NDArray[np.uint8]:
    # Unlike np.memmap, this keeps no file descriptor open, so thousands of files can be mapped at once.
    with pa.memory_map(str(path)) as file:
        return np.frombuffer(file.read_buffer(), np.uint8)


def array_views(raw: NDArray[np.uint8]) -> dict[str, Any]:
    """Views into the bytes of a safetensors file: 8 bytes of header length, JSON header, data.

    Raises KeyError, ValueError or struct.error if the bytes are not a safetensors file.
    """
    (header_bytes,) = struct.unpack("<Q", raw[:8].tobytes())
    data_start = 8 + header_bytes
    header = json.loads(raw[8:data_start].tobytes())
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = raw[data_start + begin : data_start + end].view(_DTYPES[entry["dtype"]])
    return arrays
