"""Intermediate arrays of a preparation: files of named arrays in a folder that is removed at the end.

Every file has a fixed name and appears only when complete, so a task can run twice with the same result. Nothing
is flushed to disk: files written before a crash of the machine are not used again (preparation/attempt.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import read_arrays, write_arrays
from recsys_dist.dataset.hashing import text_buffers
from recsys_dist.storage.folder import Folder

FORMAT = 4
"""Version of the contents and of the shards; a preparation does not resume from files of another version."""
Arrays = dict[str, NDArray[Any]]
NARROW = (np.uint16, np.int32)
MOST_HALVES = np.iinfo(np.uint8).max


class Scratch:
    """A folder of intermediate files."""

    def __init__(self, url: str) -> None:
        self.folder = Folder(url)

    def save(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write named arrays of any lengths as one file."""
        with self._writer(name) as stream:
            write_arrays(stream, arrays)

    def load(self, name: str) -> Arrays:
        """The arrays of a file, memory-mapped if the folder is local."""
        return read_arrays(self.folder, name)

    def remove(self, name: str) -> None:
        """Remove a file that no task still needs."""
        self.folder.remove(name)

    def discard(self, names: Iterable[str]) -> None:
        """Free files that no task still needs.

        On a local disk this happens at once, so that later files reuse their page cache. Elsewhere the files are
        removed at the end of the preparation.
        """
        if self.folder.is_local:
            for name in names:
                self.folder.local_path(name).unlink(missing_ok=True)

    def save_json(self, name: str, value: Any) -> None:
        """Write a small value as JSON."""
        with self._writer(name) as stream:
            stream.write(json.dumps(value).encode())

    def load_json(self, name: str) -> Any:
        """Read a value that `save_json` wrote."""
        return json.loads(self.folder.read_bytes(name))

    @contextmanager
    def _writer(self, name: str) -> Iterator[IO[bytes]]:
        if not self.folder.is_local:
            with self.folder.writer(name) as stream:
                yield stream
            return
        # The folder is not created here: a task that still runs after a failure must not restore it.
        path = self.folder.local_path(name)
        # A unique name per writer: a worker that outlives a failed preparation may write the same file.
        partial = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with partial.open("wb") as stream:
                yield stream
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def narrow(numbers: NDArray[np.integer]) -> NDArray[np.integer]:
    """The numbers in the smallest type of `NARROW` that holds them all, to save time in writing and reading."""
    low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    for kind in NARROW:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return numbers.astype(kind, copy=False)
    return numbers


def narrow_ratings(ratings: NDArray[np.float32]) -> NDArray[Any]:
    """Ratings as counts of halves in one byte each, if all are multiples of 0.5; else unchanged."""
    if len(ratings) and ratings.min() >= 0 and ratings.max() <= MOST_HALVES / 2:
        halves = ratings * np.float32(2)
        packed = halves.astype(np.uint8)
        # Compare bits, so that -0.0 is not packed as 0.0.
        if np.array_equal(packed.astype(np.float32).view(np.int32), halves.view(np.int32)):
            return packed
    return ratings


def wide_ratings(packed: NDArray[Any]) -> NDArray[np.float32]:
    """Undo `narrow_ratings`; returns a copy."""
    ratings = packed.astype(np.float32)
    if packed.dtype == np.uint8:
        ratings *= np.float32(0.5)
    return ratings


def pack_texts(name: str, texts: pa.LargeStringArray) -> Arrays:
    """Encode texts as two arrays, `name`.bytes and `name`.offsets."""
    offsets, data = text_buffers(texts)
    return {f"{name}.bytes": data[offsets[0] : offsets[-1]], f"{name}.offsets": offsets - offsets[0]}


def unpack_texts(name: str, arrays: Arrays) -> pa.LargeStringArray:
    """Undo `pack_texts`; no copy."""
    offsets, data = arrays[f"{name}.offsets"], arrays[f"{name}.bytes"]
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def copy_texts(name: str, arrays: Arrays, start: int, stop: int) -> pa.LargeStringArray:
    """The packed texts `start .. stop`, as a copy that does not keep the whole file in memory."""
    offsets = arrays[f"{name}.offsets"][start : stop + 1]
    data = arrays[f"{name}.bytes"][offsets[0] : offsets[-1]].copy()
    return unpack_texts(name, {f"{name}.offsets": offsets - offsets[0], f"{name}.bytes": data})


def join_texts(parts: list[pa.LargeStringArray]) -> pa.LargeStringArray:
    """Concatenate arrays of texts; without parts, the result is empty."""
    return pa.concat_arrays(parts) if parts else pa.array([], pa.large_string())
