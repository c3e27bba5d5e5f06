"""Intermediate arrays of a preparation: files of named arrays in a folder that is removed at the end.

Every file has a fixed name and appears whole, so that a task that runs twice leaves what it left the first time.
Nothing here is kept, so nothing is flushed to disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.data.blocks import array_views, arrays_to_bytes
from recsys_dist.data.hashing import text_buffers
from recsys_dist.storage import Folder

Arrays = dict[str, NDArray[Any]]


class Scratch:
    """A folder of intermediate files."""

    def __init__(self, url: str) -> None:
        self.folder = Folder(url)

    def save(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write named arrays, of any lengths, as one file."""
        self._write(name, arrays_to_bytes(arrays))

    def load(self, name: str) -> Arrays:
        """The arrays of a file, memory-mapped where the folder is on a local disk."""
        if self.folder.is_local:
            raw: NDArray[np.uint8] = np.memmap(self.folder.local_path(name), mode="r", dtype=np.uint8)
            return array_views(raw.view(np.ndarray))
        return array_views(np.frombuffer(self.folder.read_bytes(name), dtype=np.uint8))

    def save_json(self, name: str, value: Any) -> None:
        """Write a small value."""
        self._write(name, json.dumps(value).encode())

    def load_json(self, name: str) -> Any:
        """Read a small value."""
        return json.loads(self.folder.read_bytes(name))

    def _write(self, name: str, data: bytes) -> None:
        if not self.folder.is_local:
            self.folder.write_bytes(name, data)
            return
        path = self.folder.local_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        partial.replace(path)


def pack_texts(name: str, texts: pa.LargeStringArray) -> Arrays:
    """Texts as two arrays to save: `name`.bytes and `name`.offsets."""
    offsets, data = text_buffers(texts)
    return {f"{name}.bytes": data[offsets[0] : offsets[-1]], f"{name}.offsets": offsets - offsets[0]}


def unpack_texts(name: str, arrays: Arrays, start: int = 0, stop: int | None = None) -> pa.LargeStringArray:
    """The texts `start .. stop` that `pack_texts` made arrays of; no copy."""
    offsets, data = arrays[f"{name}.offsets"], arrays[f"{name}.bytes"]
    stop = len(offsets) - 1 if stop is None else stop
    buffers = pa.py_buffer(offsets), pa.py_buffer(data)
    return pa.LargeStringArray.from_buffers(stop - start, *buffers, None, 0, start)


def join_texts(parts: list[pa.LargeStringArray]) -> pa.LargeStringArray:
    """One array out of several; an empty one out of none."""
    return pa.concat_arrays(parts) if parts else pa.array([], pa.large_string())
