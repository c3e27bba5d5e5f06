"""Calls to the fsspec filesystem behind a URL, with errors of one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from recsys_dist.errors import ConfigError, DataError, RecsysDistError, StorageError
from recsys_dist.extras import how_to_install
from recsys_dist.storage.remote import ATTEMPTS, connection_options, masked, refuse_credentials

S3 = ("s3://", "s3a://")
STAMPS = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""Names of file attributes that change with the content, the most reliable first."""


class Filesystem:
    """The fsspec filesystem behind a URL, and the URL's `path` on it.

    Calls raise an `OSError`: one of this machine, `FileNotFoundError`, or a one-line `StorageError` that names the
    URL, whatever the filesystem itself raises. Transient failures are retried. Raises `ConfigError` for a URL that
    contains credentials.
    """

    def __init__(self, url: str) -> None:
        refuse_credentials(url)
        if not url.strip():
            raise ConfigError("a path is empty; name a folder or file")
        self.url = url
        self.path = ""
        self.is_local = False
        with self._own_errors(url):
            self._fs, self.path = fsspec.core.url_to_fs(url, **connection_options(url))
        self.is_local = isinstance(self._fs, LocalFileSystem)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the filesystem."""
        with self._own_errors(self._named(*arguments)):
            return getattr(self._fs, method)(*arguments, **options)

    def make_folder(self, path: str) -> None:
        """Create a folder and its parents."""
        # A bucket has no folders, and s3fs would create a bucket with a mistyped name.
        if not {"s3", "s3a"} & set(self._fs.protocol):
            self.call("makedirs", path, exist_ok=True)

    def stamp(self, path: str) -> tuple[int | None, str]:
        """The size of a file, None if unknown, and a stamp that changes when the file is rewritten."""
        if self.is_local:
            # fsspec's own `info` of a symlink has the time of the link.
            status = Path(path).stat()
            return status.st_size, str(status.st_mtime_ns)
        self.call("invalidate_cache")
        info = self.call("info", path)
        size = info.get("size")
        return None if size is None else int(size), str(next((info[key] for key in STAMPS if key in info), ""))

    def read_whole(self, path: str) -> bytes:
        """The content of a file; a read that ends early is retried."""
        if self.is_local:
            return bytes(self.call("cat_file", path))
        for _ in range(ATTEMPTS):
            size, data = self.call("size", path), bytes(self.call("cat_file", path))
            if size is None or len(data) == size:
                return data
            self.call("invalidate_cache")
        raise StorageError(f"cannot read {self._named(path)}: it ends after {len(data)} of {size} bytes")

    @contextmanager
    def reader(self, path: str, name: str) -> Iterator[IO[bytes]]:
        """Open a file as a binary stream. Raises `DataError` with `name` if opening or reading it fails.

        Other errors in the block, such as those of a file that it writes, pass unchanged.
        """
        with self.reading(name):
            stream = self.call("open", path, "rb")
        with stream:
            named: Any = _NamedStream(stream, self, name)
            yield named

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Report errors in the block as failed reads of the file `name`."""
        try:
            with self._own_errors(name, "read"):
                yield
        except StorageError:
            raise
        except OSError as error:
            raise DataError(f"cannot read {name}: {reason(error)}") from error

    @contextmanager
    def _own_errors(self, name: str, verb: str = "use") -> Iterator[None]:
        try:
            yield
        except RecsysDistError:
            raise
        except Exception as error:
            if self.is_local or _is_of_this_machine(error):
                raise
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, str(error), name) from error
            lacks_s3 = isinstance(error, ImportError) and name.startswith(S3)
            hint = f"; {how_to_install('s3')}" if lacks_s3 else ""
            raise StorageError(f"cannot {verb} {name}: {reason(error)}{hint}") from error

    def _named(self, *arguments: Any) -> str:
        """The URL of the path among the arguments of a call; without a path, the URL of the filesystem."""
        inside = [text for text in arguments if isinstance(text, str) and text.startswith(self.path)]
        return self.url.rstrip("/") + inside[-1].removeprefix(self.path.rstrip("/")) if inside else self.url


def _is_of_this_machine(error: Exception) -> bool:
    """Whether the error is about a local file, such as the target of a download, or a full disk."""
    return isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC)


class _NamedStream:
    """A stream whose errors name its file."""

    def __init__(self, stream: Any, filesystem: Filesystem, name: str) -> None:
        self._stream = stream
        self._filesystem = filesystem
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    def read(self, size: int = -1) -> bytes:
        with self._filesystem.reading(self._name):
            total = None if self._filesystem.is_local else getattr(self._stream, "size", None)
            if total is None:
                return bytes(self._stream.read(size))
            left = max(total - self._stream.tell(), 0)
            return self._read_all(left if size < 0 else min(size, left))

    def _read_all(self, num_bytes: int) -> bytes:
        """Read exactly `num_bytes` bytes; the storage may send fewer at first."""
        data = bytes(self._stream.read(num_bytes))
        for _ in range(ATTEMPTS):
            if len(data) == num_bytes:
                return data
            data += self._stream.read(num_bytes - len(data))
        raise StorageError(f"cannot read {self._name}: it ends {num_bytes - len(data)} bytes early")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._filesystem.reading(self._name):
            from_end = self._stream.seek(0, os.SEEK_END) + offset if whence == os.SEEK_END else 0
            if from_end >= 0:
                return int(self._stream.seek(offset, whence))
        # Archive readers rely on this error to detect a short file; it is not a failure of the storage.
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def reason(error: Exception) -> str:
    """The message of an error, on one line."""
    # Remote filesystems raise it without the message of the operating system.
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return masked(getattr(error, "strerror", None) or " ".join(str(error).split()) or error.__class__.__name__)
