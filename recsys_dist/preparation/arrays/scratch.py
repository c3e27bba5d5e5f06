"""Intermediate arrays of a preparation: files of named arrays in a folder that is removed at the end.

Every file has a fixed name and appears whole, so that a task that runs twice leaves what it left the first time.
Nothing is flushed to disk: what a machine wrote before it went down is not used again: preparation/attempt.py.
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

FORMAT = 3
"""Of what tasks leave here for others: a preparation does not go on with files of another."""
Arrays = dict[str, NDArray[Any]]
NARROW = (np.uint16, np.int32)
MOST_HALVES = np.iinfo(np.uint8).max


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

    def discard(self, names: Iterable[str]) -> None:
        """Give up the room of files that no task needs any longer, at once where that costs next to nothing.

        On a local disk the files to come take the memory that these had there. Elsewhere they wait for the end.
        """
        if self.folder.is_local:
            for name in names:
                self.folder.local_path(name).unlink(missing_ok=True)

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
    """The numbers in as few bytes as hold all of them: what is written is time, and so is what is read again."""
    low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    for kind in NARROW:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return numbers.astype(kind, copy=False)
    return numbers


def narrow_ratings(ratings: NDArray[np.float32]) -> NDArray[Any]:
    """Ratings as how many halves they are, a byte each, where all are whole halves; else as they are."""
    if len(ratings) and ratings.min() >= 0 and ratings.max() <= MOST_HALVES / 2:
        halves = ratings * np.float32(2)
        packed = halves.astype(np.uint8)
        # As bits: a minus zero stays one.
        if np.array_equal(packed.astype(np.float32).view(np.int32), halves.view(np.int32)):
            return packed
    return ratings


def wide_ratings(packed: NDArray[Any]) -> NDArray[np.float32]:
    """The ratings that `narrow_ratings` was given, as a copy."""
    ratings = packed.astype(np.float32)
    if packed.dtype == np.uint8:
        ratings *= np.float32(0.5)
    return ratings


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
