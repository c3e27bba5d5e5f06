"""Decompresses files sequentially while they are read.

In: a stream and its compression, from the file's suffix. Out: a stream of the decompressed bytes. A file that is
truncated, damaged, followed by other data or too large when unpacked is an error; several members form one file.
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
    """The compression of a file by its name; None if it is not compressed."""
    return next((packing for suffix, packing in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def without_packing(name: str) -> str:
    """The name without the suffix of its compression."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


@dataclass
class Unpacked:
    """A stream of unpacked bytes. Reading raises `DataError` naming the file if it is damaged or too large."""

    stream: Any
    name: str
    packing: Packing
    max_bytes: int | None
    num_bytes: int = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        # Read errors of the source are DataErrors already, so these errors come from the decompression.
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
    """The end of the error for a file that unpacks to more than `max_bytes`."""
    return f"unpacks to more than {max_bytes:,} bytes; if you trust it, set max_bytes higher or to null"


def unpacked(stream: Any, name: str, packing: Packing, max_bytes: int | None) -> Unpacked:
    """Unpack a stream as it is read."""
    if packing == "gzip":
        return Unpacked(gzip.GzipFile(fileobj=stream, mode="rb"), name, packing, max_bytes)
    # Unlike Python's bzip2 reader, this one refuses data after the end.
    codec = {"bzip2": "bz2", "Zstandard": "zstd"}[packing]
    source = pa.PythonFile(stream, mode="r")
    return Unpacked(pa.CompressedInputStream(source, codec), name, packing, max_bytes)
