"""The input files, and the blocks of whole lines that they are read in.

In: paths, globs and URLs. Out: files sorted by name, and blocks of bytes in which every line is whole. A block
owns the lines that start in it, so that blocks parsed in parallel see each line once.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from recsys_dist.data.config import FileFormat
from recsys_dist.data.dataset import Split
from recsys_dist.errors import DataError
from recsys_dist.filesystem import Filesystem, reason

MAX_LINE_BYTES = 1 << 16
"""A longer line is refused; it bounds what has to be read beyond a block."""
PARQUET_NAMES = (".parquet", ".pq")


@dataclass(frozen=True)
class InputFile:
    """One file of the input. `name` is what people read, `url` what any worker can open."""

    name: str
    url: str
    num_bytes: int
    format: Literal["csv", "parquet"]
    role: Split = "train"
    """What the file is for where the files make the split; `train` where a rule does."""

    @property
    def is_gzip(self) -> bool:
        """Whether the file has to be unpacked, front to back."""
        return self.format == "csv" and self.name.endswith(".gz")

    def blocks(self, block_bytes: int) -> list[tuple[int, int]]:
        """Byte ranges (start, stop) of text that can be parsed apart; one range for a file that cannot be cut."""
        if self.is_gzip:
            return [(0, self.num_bytes)]
        starts = range(0, self.num_bytes, block_bytes)
        return [(start, min(start + block_bytes, self.num_bytes)) for start in starts]


def find_files(
    key: str, patterns: Iterable[str], file_format: FileFormat, role: Split = "train"
) -> list[InputFile]:
    """The files that paths, globs and URLs stand for, each once, sorted by name.

    Raises `DataError` naming the settings' key where a path stands for no file.
    """
    found: dict[str, InputFile] = {}
    for pattern in patterns:
        matches = list(_matches(key, pattern, file_format, role))
        if not matches:
            raise DataError(f"{key}: there is no file {pattern}")
        found.update((file.url, file) for file in matches)
    return sorted(found.values(), key=lambda file: file.name)


def _matches(key: str, pattern: str, file_format: FileFormat, role: Split) -> Iterator[InputFile]:
    try:
        fs = Filesystem(pattern)
        is_glob = any(sign in pattern for sign in "*?[") and not fs.call("exists", fs.path)
        paths = sorted(str(match) for match in fs.call("glob", fs.path)) if is_glob else [fs.path]
        for match in paths:
            if fs.call("isfile", match):
                url = match if fs.is_local else str(fs.call("unstrip_protocol", match))
                name = pattern if not is_glob else _shown(match, pattern) if fs.is_local else url
                yield InputFile(name, url, _size(key, fs, match), _format_of(match, file_format), role)
            elif fs.call("isdir", match) and not is_glob:
                raise DataError(
                    f"{key}: {pattern} is a folder; name its files, such as {pattern.rstrip('/')}/*.csv"
                )
    except (OSError, ValueError) as error:
        raise DataError(f"{key}: cannot open {pattern}: {reason(error)}") from error


def _size(key: str, fs: Filesystem, path: str) -> int:
    size = fs.call("size", path)
    if size is None:
        raise DataError(f"{key}: the server does not tell the size of {path}; download it first")
    return int(size)


def _shown(path: str, pattern: str) -> str:
    return path if Path(pattern).is_absolute() or "://" in pattern else os.path.relpath(path)


def _format_of(path: str, file_format: FileFormat) -> Literal["csv", "parquet"]:
    if file_format != "auto":
        return file_format
    return "parquet" if path.endswith(PARQUET_NAMES) else "csv"


@contextmanager
def open_file(file: InputFile) -> Iterator[IO[bytes]]:
    """Open an input file. Raises `DataError` naming it where it cannot be read or unpacked."""
    fs = Filesystem(file.url)
    try:
        with fs.reader(fs.path, file.name) as stream:
            yield _gunzip(stream) if file.is_gzip else stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file.name} is a damaged or truncated gzip file: {reason(error)}") from error


def _gunzip(stream: Any) -> Any:
    return gzip.GzipFile(fileobj=stream, mode="rb")


def read_blocks(file: InputFile, start: int, stop: int, block_bytes: int) -> Iterator[bytes]:
    """The lines that start in the byte range, in blocks of about `block_bytes`."""
    with open_file(file) as stream:
        if file.is_gzip:
            yield from _stream_blocks(stream, block_bytes)
        else:
            yield _range_block(stream, start, stop)


def _range_block(stream: IO[bytes], start: int, stop: int) -> bytes:
    # From one byte ahead: where that byte is a line end, the first line starts exactly at `start`.
    ahead = min(start, 1)
    stream.seek(start - ahead)
    data = stream.read(stop - start + ahead)
    if ahead:
        line_end = data.find(b"\n")
        data = data[line_end + 1 :] if line_end >= 0 else b""
    if not data or data.endswith(b"\n"):
        return data
    # Beyond the longest line accepted, the rest of the line does not matter.
    rest = stream.read(MAX_LINE_BYTES + 1)
    line_end = rest.find(b"\n")
    return data + (rest if line_end < 0 else rest[: line_end + 1])


def _stream_blocks(stream: IO[bytes], block_bytes: int) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(block_bytes):
        data = rest + chunk
        stop = data.rfind(b"\n") + 1
        rest = data[stop : stop + MAX_LINE_BYTES + 1]
        if stop:
            yield data[:stop]
    if rest:
        yield rest


def first_bytes(file: InputFile, num_bytes: int) -> bytes:
    """The beginning of a text file, unpacked."""
    with open_file(file) as stream:
        return stream.read(num_bytes)
