"""Zip archives as folders of input files: lists and checks members, and reads one of them.

Nothing is unpacked to disk, so member names cannot point outside a folder.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.packing import Unpacked, too_large
from recsys_dist.storage.filesystem import reason

ENCRYPTED = 1 << 0
END_RECORD, END_RECORD_BYTES = b"PK\5\6", 22
METHODS = {ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA}
ARCHIVES = (".zip",)


def list_members(stream: Any, name: str, max_bytes: int | None) -> list[ZipInfo]:
    """The files in the archive `name`.

    Raises `DataError` if the archive is damaged, has duplicate names, or unpacks to more than `max_bytes`.
    """
    members = [member for member in _open(stream, name).infolist() if not member.is_dir()]
    for member_name, count in Counter(member.filename for member in members).items():
        if count > 1 or not member_name.isprintable():
            problem = f"{count} members named" if count > 1 else "a member with control characters in its name:"
            raise DataError(f"{name} holds {problem} {member_name!r}")
    if max_bytes is not None and sum(member.file_size for member in members) > max_bytes:
        raise DataError(f"{name} {too_large(max_bytes)}")
    return members


def is_hidden(path: str) -> bool:
    """Whether a path in a folder or archive is skipped: `.DS_Store`, `_SUCCESS`, `__MACOSX/a.csv`."""
    return any(part.startswith((".", "_")) and part != ".." for part in path.split("/"))


def check_member(member: ZipInfo, name: str) -> None:
    """Raise `DataError` with `name` if the member is encrypted or packed by an unsupported method."""
    if member.flag_bits & ENCRYPTED:
        raise DataError(f"{name} is encrypted; unpack the archive and name its files")
    if member.compress_type not in METHODS:
        raise DataError(
            f"{name} uses compression method {member.compress_type}, which is not supported; unpack the archive "
            "and name its files"
        )
    if member.filename.lower().endswith(ARCHIVES):
        raise DataError(f"{name} is an archive within an archive; unpack the outer one and name its files")


def open_member(stream: Any, name: str, member: str, max_bytes: int | None) -> Unpacked:
    """Open the file `member` of an archive, with its checksum verified; `name` is its name in errors."""
    archive = _open(stream, name)
    with _damage(name):
        return Unpacked(archive.open(member), name, "zip", max_bytes)


def _open(stream: Any, name: str) -> ZipFile:
    with _damage(name):
        archive = ZipFile(stream)
        stream.seek(-END_RECORD_BYTES - len(archive.comment), os.SEEK_END)
        if stream.read(len(END_RECORD)) != END_RECORD:
            raise BadZipFile("data follows its end")
    return archive


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (BadZipFile, NotImplementedError, ValueError, KeyError, EOFError, struct.error) as error:
        raise DataError(f"{name} is a damaged or truncated zip file: {reason(error)}") from error
