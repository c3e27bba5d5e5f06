"""Intermediate arrays of a preparation: files of named arrays in a folder that is removed at the end.

Every file has a fixed name and appears whole, so that a task that runs twice leaves what it left the first time.
Nothing is flushed to disk: what a machine wrote before it went down is not used again (see attempt.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.data.blocks import read_arrays, write_arrays
from recsys_dist.data.hashing import text_buffers
from recsys_dist.storage import Folder

Arrays = dict[str, NDArray[Any]]


class Scratch:
    """A folder of intermediate files."""

    def __init__(self, url: str) -> None:
        self.folder = Folder(url)

    def save(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write named arrays, of any lengths, as one file."""
        with self._writer(name) as stream:
            write_arrays(stream, arrays)

    def load(self, name: str) -> Arrays:
        """The arrays of a file, memory-mapped where the folder is on a local disk."""
        return read_arrays(self.folder, name)

    def remove(self, name: str) -> None:
        """Remove a file that no task needs any longer."""
        self.folder.remove(name)

    def save_json(self, name: str, value: Any) -> None:
        """Write a small value."""
        with self._writer(name) as stream:
            stream.write(json.dumps(value).encode())

    def load_json(self, name: str) -> Any:
        """Read a small value."""
        return json.loads(self.folder.read_bytes(name))

    @contextmanager
    def _writer(self, name: str) -> Iterator[IO[bytes]]:
        if not self.folder.is_local:
            with self.folder.writer(name) as stream:
                yield stream
            return
        # The folder is not made here: a task that runs on after a failure must not bring it back.
        path = self.folder.local_path(name)
        # Of its own for each writer: a worker that outlives a broken preparation may write the same file.
        partial = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with partial.open("wb") as stream:
                yield stream
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def narrow(numbers: NDArray[np.integer]) -> NDArray[np.integer]:
    """The numbers as int32 where all of them fit: writing half the bytes takes half the time."""
    fits = len(numbers) == 0 or (numbers.min() >= -(2**31) and numbers.max() < 2**31)
    return numbers.astype(np.int32) if fits else numbers


def pack_texts(name: str, texts: pa.LargeStringArray) -> Arrays:
    """Texts as two arrays to save: `name`.bytes and `name`.offsets."""
    offsets, data = text_buffers(texts)
    return {f"{name}.bytes": data[offsets[0] : offsets[-1]], f"{name}.offsets": offsets - offsets[0]}


def unpack_texts(name: str, arrays: Arrays) -> pa.LargeStringArray:
    """The texts that `pack_texts` made arrays of; no copy."""
    offsets, data = arrays[f"{name}.offsets"], arrays[f"{name}.bytes"]
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def copy_texts(name: str, arrays: Arrays, start: int, stop: int) -> pa.LargeStringArray:
    """The texts `start .. stop` of those, as a copy that does not keep the whole file in memory."""
    offsets = arrays[f"{name}.offsets"][start : stop + 1]
    data = arrays[f"{name}.bytes"][offsets[0] : offsets[-1]].copy()
    return unpack_texts(name, {f"{name}.offsets": offsets - offsets[0], f"{name}.bytes": data})


def join_texts(parts: list[pa.LargeStringArray]) -> pa.LargeStringArray:
    """One array out of several; an empty one out of none."""
    return pa.concat_arrays(parts) if parts else pa.array([], pa.large_string())
