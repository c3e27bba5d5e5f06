"""Compressed files, unpacked front to back while they are read.

In: a stream and how the end of its file's name says it is packed. Out: a stream of what was packed. A file that is
cut off, damaged, followed by anything else or too large unpacked is an error; several members are one file.
"""

from __future__ import annotations

import gzip
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from recsys_dist.errors import DataError
from recsys_dist.storage.filesystem import reason

Packing = Literal["gzip", "bzip2", "Zstandard", "zip"]
SUFFIXES: dict[str, Packing] = {".gz": "gzip", ".bz2": "bzip2", ".zst": "Zstandard", ".zip": "zip"}
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)


def packing_of(name: str) -> Packing | None:
    """How a file of this name is packed; None where it is not."""
    return next((packing for suffix, packing in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def without_packing(name: str) -> str:
    """The name that the file has unpacked."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


@dataclass
class Unpacked:
    """A stream of unpacked bytes. Reading raises a `DataError` that names a file that is damaged or too large."""

    stream: Any
    name: str
    packing: Packing
    max_bytes: int | None
    num_bytes: int = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        # A damaged source is told apart by its own DataError: what comes up here is of the unpacking.
        try:
            data = bytes(self.stream.read(size))
        except _DAMAGE as error:
            raise DataError(
                f"{self.name} is a damaged or truncated {self.packing} file: {reason(error)}"
            ) from error
        self.num_bytes += len(data)
        if self.max_bytes is not None and self.num_bytes > self.max_bytes:
            raise DataError(f"{self.name} {too_large(self.max_bytes)}")
        return data


def too_large(max_bytes: int) -> str:
    """What to say of a file that unpacks to more than is allowed."""
    return f"unpacks to more than {max_bytes:,} bytes; if it is sound, set max_bytes higher or to null"


def unpacked(stream: Any, name: str, packing: Packing, max_bytes: int | None) -> Unpacked:
    """Unpack a stream while it is read."""
    if packing == "gzip":
        return Unpacked(gzip.GzipFile(fileobj=stream, mode="rb"), name, packing, max_bytes)
    # Python's own reader of bzip2 takes whatever follows the end in silence; this one does not.
    codec = {"bzip2": "bz2", "Zstandard": "zstd"}[packing]
    source = pa.PythonFile(stream, mode="r")
    return Unpacked(pa.CompressedInputStream(source, codec), name, packing, max_bytes)
