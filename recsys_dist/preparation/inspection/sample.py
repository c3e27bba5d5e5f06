"""Takes a bounded sample of whole lines from a text file: its beginning and, if cheap, a part of its middle.

In: one input file, packed or not. Out: pieces of unpacked bytes, or a `DataError` if it is not text.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.kinds import check_beginning
from recsys_dist.preparation.inputs.sources import InputFile, first_bytes, read_blocks
from recsys_dist.storage.filesystem import Filesystem

SAMPLE_BYTES = 1 << 20
CONTROL = bytes(code for code in range(32) if chr(code) not in "\t\n\r")
FEW_CONTROL, MAX_CONTROL = 4, 0.01
"""A file is not text if control characters exceed both this number and this fraction."""


@dataclass(frozen=True)
class Sample:
    """Pieces of a file; the first begins the file and each ends with a whole line."""

    pieces: tuple[bytes, ...]
    is_whole: bool
    """Whether the sample is the whole file."""

    @property
    def num_bytes(self) -> int:
        """Number of unpacked bytes in all pieces."""
        return sum(map(len, self.pieces))

    @property
    def extent(self) -> str:
        """The extent of the sample, for messages."""
        if self.is_whole:
            return f"all {self.num_bytes:,} bytes"
        first, *others = (f"{len(piece):,} bytes" for piece in self.pieces)
        return " and ".join([f"the first {first}", *(f"{piece} from the middle" for piece in others)])


def take_sample(file: InputFile) -> Sample:
    """Read the sample. Raises `DataError` naming a file that is empty, is not text, or has no line end."""
    data = first_bytes(file, SAMPLE_BYTES + 1)
    _require_text(file, data)
    if len(data) <= SAMPLE_BYTES:
        return Sample((data,), is_whole=True)
    first = data[: data.rfind(b"\n", 0, SAMPLE_BYTES) + 1]
    if not first:
        raise DataError(f"{file.name} has no line end in its first {SAMPLE_BYTES:,} bytes")
    middle = _middle(file)
    return Sample((first, middle) if middle else (first,), is_whole=False)


def _require_text(file: InputFile, data: bytes) -> None:
    name = file.name
    check_beginning(file, data)
    if not data.strip():
        raise DataError(f"{name} is empty")
    if len(data) - len(data.translate(None, CONTROL)) > max(FEW_CONTROL, MAX_CONTROL * len(data)):
        raise DataError(f"{name} is binary or UTF-16, not text in an encoding that contains ASCII, such as UTF-8")
    if b"\n" not in data and b"\r" in data:
        raise DataError(f"{name} has only carriage returns as line ends; convert them to line feeds")


def _middle(file: InputFile) -> bytes:
    start = file.num_bytes // 2
    if file.is_packed or start < SAMPLE_BYTES or not Filesystem(file.url).is_local:
        return b""
    return b"".join(read_blocks(file, start, start + SAMPLE_BYTES // 2, SAMPLE_BYTES))
