"""The input files, and the blocks of whole lines that they are read in.

In: paths of files, folders and archives, globs and URLs. Out: files sorted by name, and blocks of bytes in which
every line is whole. A block owns the lines that start in it, so that blocks parsed in parallel see each line once.
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
"""A longer line is refused; it bounds what has to be read beyond a block."""


@dataclass(frozen=True)
class InputFile:
    """One file of the input. `name` is what people read, `url` what any worker can open."""

    name: str
    url: str
    num_bytes: int
    format: Literal["csv", "parquet"]
    role: Split = "train"
    """What the file is for where the files make the split; `train` where a rule does."""
    packing: Packing | None = None
    member: str | None = None
    """Where `url` is an archive, the file in it."""
    max_bytes: int | None = None
    """What the file may unpack to at most; None: anything."""
    stamp: str = ""
    """What changes when the file, or the archive it is in, is written anew: its size with its time or ETag."""
    is_part: bool = field(default=False, compare=False)
    """Whether it was found beside others, in a folder, an archive or by a glob, and was not named itself."""
    content: str = ""
    """A hash of what it holds, where that is known."""

    @property
    def is_packed(self) -> bool:
        """Whether the file has to be unpacked, front to back."""
        return self.packing is not None or self.member is not None

    @property
    def identity(self) -> str:
        """What is the same as long as the file holds the same: its content, or where and as it was found."""
        return self.content or f"{self.url} {self.num_bytes} {self.stamp}"

    def blocks(self, block_bytes: int) -> list[tuple[int, int]]:
        """Byte ranges (start, stop) of text that can be parsed apart; one range for a file that cannot be cut."""
        if self.is_packed:
            return [(0, self.num_bytes)]
        starts = range(0, self.num_bytes, block_bytes)
        return [(start, min(start + block_bytes, self.num_bytes)) for start in starts]


def stamp_of(fs: Filesystem, path: str) -> tuple[int | None, str]:
    """The size of the file at a path, and its `stamp`."""
    size, mark = fs.stamp(path)
    return size, f"{size} {mark}"


def require_unchanged(files: Iterable[InputFile]) -> None:
    """Raise `DataError` naming the first file that was written to since it was found."""
    for file in files:
        fs = Filesystem(file.url)
        with fs.reading(file.name):
            _, stamp = stamp_of(fs, fs.path)
        if stamp != file.stamp:
            raise DataError(f"{file.name} was changed while it was read; start again when it is complete")


@contextmanager
def open_file(file: InputFile) -> Iterator[IO[bytes]]:
    """Open an input file. Raises `DataError` naming it where it cannot be read or unpacked."""
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
