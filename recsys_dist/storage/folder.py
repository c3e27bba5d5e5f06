"""Folders at any fsspec URL, and the record kept of each file in them.

In: a plain path or a URL (`s3://bucket/run`, `memory://x`). Out: bytes on storage and a `FileRecord` for each,
which the manifests of datasets, checkpoints and models list. A file appears under its name complete or not at all.

A folder on a local disk is created by its first file, and only once: if it is removed while a program writes to
it, the next write fails.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recsys_dist.errors import DataError, StorageError
from recsys_dist.storage.file_cache import FileCache
from recsys_dist.storage.filesystem import Filesystem
from recsys_dist.storage.remote import ATTEMPTS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

HASH_CHUNK_BYTES = 1 << 22


class FileRecord(BaseModel):
    """The entry of one file in a manifest: its name below the manifest's folder, rows, size and hash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        path = PurePosixPath(name)
        if not name.isprintable() or not path.parts or path.is_absolute() or set(name) & set("\\:"):
            raise ValueError(f"file name {name!r} is not a plain relative path")
        if ".." in path.parts:
            raise ValueError(f"file name {name!r} leads outside its folder")
        return name


class Folder:
    """A folder on local disk or behind a URL; names are relative, with forward slashes."""

    def __init__(self, url: str) -> None:
        self._fs = Filesystem(str(url))
        self._cache = FileCache()
        self._path = self._fs.path
        self.url = str(url).rstrip("/")
        self.is_local = self._fs.is_local
        self._is_there = False
        """Whether the folder is known to exist, so that a write must not create it."""

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def child(self, name: str) -> Folder:
        """The folder `name` below this one."""
        return Folder(f"{self.url}/{name}")

    def expect(self) -> Folder:
        """This folder, marked as existing: writes fail if it is missing and do not create it."""
        self._is_there = True
        return self

    def path(self, name: str) -> str:
        """The path of `name` as the filesystem behind the URL spells it."""
        return posixpath.join(self._path, name)

    def local_path(self, name: str) -> Path:
        """The path of `name` on the local disk; only for a local folder."""
        assert self.is_local, f"{self.url} is not on a local disk"
        return Path(self.path(name))

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder of that name is there."""
        self._fs.call("invalidate_cache")
        return bool(self._fs.call("exists", self.path(name) if name else self._path))

    def names(self) -> list[str]:
        """Names of the files and folders directly below, sorted; empty where the folder is missing."""
        self._fs.call("invalidate_cache")
        try:
            entries = self._fs.call("ls", self._path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(posixpath.basename(entry.rstrip("/")) for entry in entries)

    def make(self) -> None:
        """Create the folder and its parents."""
        self._fs.make_folder(self._path)
        self._is_there = True

    def make_child(self, name: str) -> Folder:
        """Create the folder `name` below this one. Raises `StorageError` if this one has been removed."""
        child = self.child(name)
        if self.is_local:
            self._make_folders_of(name)
            self.local_path(name).mkdir(exist_ok=True)
        else:
            child.make()
        return child.expect()

    def remove(self, name: str = "") -> None:
        """Delete a file or a whole folder; silent if it is missing.

        A local folder is renamed first, so that a process that still writes into it fails and cannot refill it. An
        interrupted removal leaves it as `.NAME.` with a random suffix.
        """
        if not self.exists(name):
            return
        path = self.path(name) if name else self._path
        if self.is_local and name and Path(path).is_dir():
            path = str(Path(path).rename(Path(path).with_name(f".{Path(path).name}.{uuid4().hex}")))
        self._fs.call("rm", path, recursive=True)
        self._is_there &= bool(name)

    def take(self, source: Folder, name: str) -> None:
        """Copy the file `name` from another folder in the same storage.

        On a local disk the file becomes a hard link if possible; elsewhere the storage copies it.
        """
        if not self.is_local:
            self._fs.call("cp_file", source.path(name), self.path(name))
            return
        path = self.local_path(name)
        self._make_folders_of(name)
        path.unlink(missing_ok=True)
        try:
            path.hardlink_to(source.local_path(name))
        except OSError:
            with source.local_path(name).open("rb") as stream, self.writer(name) as copy:
                shutil.copyfileobj(stream, copy)
        sync_folder(path.parent)

    def read_bytes(self, name: str) -> bytes:
        """The content of a file. Raises `DataError` naming it if it cannot be read."""
        with self._fs.reading(f"{self.url}/{name}"):
            return self._fs.read_whole(self.path(name))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading as a binary stream. Raises `DataError` if opening or reading it fails."""
        with self._fs.reader(self.path(name), f"{self.url}/{name}") as stream:
            yield stream

    def write_bytes(self, name: str, data: bytes, rows: int = 0) -> FileRecord:
        """Write a file whole: it appears under its name complete and flushed to disk, or not at all."""
        with self.writer(name) as stream:
            stream.write(data)
        return FileRecord(name=name, rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing; it appears under `name` when the block ends without an error.

        Raises `StorageError` if this folder is known to have existed and is missing.
        """
        if self.is_local:
            self._make_folders_of(name)
            with _local_writer(self.local_path(name)) as stream:
                yield stream
            return
        # Uploaded once complete: a block that fails leaves nothing behind, and an object appears whole.
        with (
            tempfile.NamedTemporaryFile(buffering=0) as temporary,
            io.BufferedWriter(_NamedFile(temporary.fileno(), temporary.name, closefd=False)) as stream,
        ):
            yield stream
            stream.flush()
            try:
                self._fs.call("put_file", temporary.name, self.path(name))
            except FileNotFoundError as error:
                raise StorageError(f"cannot write {self.url}/{name}: {error.strerror}") from error

    def _make_folders_of(self, name: str) -> None:
        """Create the local folders that hold the file `name`: below this one, and this one if it is new."""
        if not self._is_there:
            self.make()
        self._require_there(name)
        self.local_path(name).parent.mkdir(parents=True, exist_ok=True)

    def _require_there(self, name: str) -> None:
        if not self.local_path("").is_dir():
            raise StorageError(
                f"cannot write {self.url}/{name}: its folder is missing; it was removed, or is not on storage "
                "that all processes share"
            )

    def record(self, name: str, rows: int) -> FileRecord:
        """Read a file back and return its record."""
        digest, size = hashlib.sha256(), 0
        with self.open(name) as stream:
            while chunk := stream.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return FileRecord(name=name, rows=rows, bytes=size, sha256=digest.hexdigest())

    def check_size(self, record: FileRecord) -> None:
        """Raise `DataError` if the file is missing or its size differs from the record."""
        try:
            size = int(self._fs.call("size", self.path(record.name)))
        except StorageError:
            raise
        except OSError as error:
            raise DataError(f"{self.url}/{record.name} is missing") from error
        if size != record.bytes:
            raise DataError(f"{self.url}/{record.name} has {size} bytes where {record.bytes} were recorded")

    def verify(self, record: FileRecord) -> None:
        """Raise `DataError` if the file's size or content differs from its record."""
        self.check_size(record)
        tries = 1 if self.is_local else ATTEMPTS
        if not any(self.record(record.name, record.rows).sha256 == record.sha256 for _ in range(tries)):
            raise self._damaged(record)

    def read_recorded(self, record: FileRecord) -> bytes:
        """The content of a file. Raises `DataError` if it differs from the record."""
        tries = 1 if self.is_local else ATTEMPTS
        for _ in range(tries):
            data = self.read_bytes(record.name)
            if hashlib.sha256(data).hexdigest() == record.sha256:
                return data
        raise self._damaged(record)

    def local_copy(self, record: FileRecord) -> Path:
        """The local path of a file: the file itself, or its copy in the cache (see storage/file_cache.py).

        Raises `DataError` if the size of a local file, or the content of a fetched one, differs from the record.
        """
        if self.is_local:
            self.check_size(record)
            return self.local_path(record.name)
        name = f"{self.url}/{record.name}"

        def download(target: str) -> None:
            try:
                self._fs.call("get_file", self.path(record.name), target)
            except FileNotFoundError as error:
                raise DataError(f"{name} is missing") from error

        return self._cache.path(record.sha256, record.bytes, name, download)

    def checked_copy(self, record: FileRecord) -> Path:
        """`local_copy`, with the content checked in both cases."""
        if self.is_local:
            self.verify(record)
        return self.local_copy(record)

    def _damaged(self, record: FileRecord) -> DataError:
        return DataError(f"{self.url}/{record.name} is damaged: its sha256 differs from the recorded one")


@contextmanager
def _local_writer(path: Path) -> Iterator[IO[bytes]]:
    with _errors_naming(str(path)):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with io.BufferedWriter(_NamedFile(descriptor, str(path))) as stream:
            yield stream
            stream.flush()
            with _errors_naming(str(path)):
                os.fchmod(descriptor, 0o644)
                os.fsync(descriptor)
        with _errors_naming(str(path)):
            Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


class _NamedFile(io.FileIO):
    """An open file whose write errors name `path`, its final path."""

    def __init__(self, descriptor: int, path: str, closefd: bool = True) -> None:
        super().__init__(descriptor, "wb", closefd)
        self._path = path

    def write(self, data: ReadableBuffer, /) -> int:
        with _errors_naming(self._path):
            return super().write(data)


@contextmanager
def _errors_naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error


def sync_folder(path: Path) -> None:
    """Flush a local folder's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with _errors_naming(str(path)):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
