"""Input files, and reading them in blocks of whole lines.

A block owns the lines that start in its byte range, so that blocks parsed in parallel see each line exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from recsys_dist.dataset.manifest import Split
from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.archives import open_member
from recsys_dist.preparation.inputs.packing import Packing, unpacked
from recsys_dist.storage.filesystem import Filesystem

MAX_LINE_BYTES = 1 << 16
"""Longer lines are rejected; this bounds how far a block reads beyond its end."""


@dataclass(frozen=True)
class InputFile:
    """One input file. `name` appears in messages; `url` can be opened by any worker."""

    name: str
    url: str
    num_bytes: int
    format: Literal["csv", "parquet", "json"]
    role: Split = "train"
    """The file's split with `split.kind: files`, else `train`."""
    packing: Packing | None = None
    member: str | None = None
    """The member, if `url` is an archive."""
    max_bytes: int | None = None
    """Maximum size when unpacked; None: no limit."""
    stamp: str = ""
    """Size with modification time or ETag of the file or its archive; detects changes."""
    is_part: bool = field(default=False, compare=False)
    """Whether it was found in a folder, in an archive or by a glob, not named explicitly."""
    content: str = ""
    """A hash of the content, if known."""

    @property
    def is_packed(self) -> bool:
        """Whether the file must be unpacked sequentially."""
        return self.packing is not None or self.member is not None

    @property
    def identity(self) -> str:
        """A text that changes when the content may have changed: its hash, or URL, size and stamp."""
        return self.content or f"{self.url} {self.num_bytes} {self.stamp}"

    def blocks(self, block_bytes: int) -> list[tuple[int, int]]:
        """Byte ranges (start, stop) that can be parsed independently; one range for a packed file."""
        if self.is_packed:
            return [(0, self.num_bytes)]
        starts = range(0, self.num_bytes, block_bytes)
        return [(start, min(start + block_bytes, self.num_bytes)) for start in starts]


def stamp_of(fs: Filesystem, path: str) -> tuple[int | None, str]:
    """The size and the `stamp` of the file at a path."""
    size, mark = fs.stamp(path)
    return size, f"{size} {mark}"


def require_unchanged(files: Iterable[InputFile]) -> None:
    """Raise `DataError` naming the first file that has changed since it was found."""
    for file in files:
        fs = Filesystem(file.url)
        with fs.reading(file.name):
            _, stamp = stamp_of(fs, fs.path)
        if stamp != file.stamp:
            raise DataError(f"{file.name} changed while it was being read; start again when it is complete")


@contextmanager
def open_file(file: InputFile) -> Iterator[IO[bytes]]:
    """Open an input file. Raises `DataError` naming the file if it cannot be read or unpacked."""
    fs = Filesystem(file.url)
    with fs.reader(fs.path, file.name) as source:
        stream: Any = source
        if file.member is not None:
            stream = open_member(stream, file.name, file.member, file.max_bytes)
        if file.packing is not None:
            stream = unpacked(stream, file.name, file.packing, file.max_bytes)
        yield stream


def read_blocks(file: InputFile, start: int, stop: int, block_bytes: int) -> Iterator[bytes]:
    """The lines that start in the byte range, in blocks of about `block_bytes`."""
    with open_file(file) as stream:
        if file.is_packed:
            yield from _stream_blocks(stream, block_bytes)
        else:
            yield _range_block(stream, start, stop)


def _range_block(stream: IO[bytes], start: int, stop: int) -> bytes:
    # Read one byte before `start`: if it is a line end, the first line starts exactly at `start`.
    ahead = min(start, 1)
    stream.seek(start - ahead)
    data = stream.read(stop - start + ahead)
    if ahead:
        line_end = data.find(b"\n")
        data = data[line_end + 1 :] if line_end >= 0 else b""
    if not data or data.endswith(b"\n"):
        return data
    # Beyond the maximum line length, the rest of the line does not matter.
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
    """The first bytes of a file, unpacked."""
    with open_file(file) as stream:
        return stream.read(num_bytes)
