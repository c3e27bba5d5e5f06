"""A cache of remote files on the local disk, under the sha256 of their content.

    CACHE/ab/abcdef...      the whole content; CACHE is $RECSYS_DIST_CACHE, else ~/.cache/recsys_dist

A file appears under its name whole, so that the processes of a machine can share the folder. Each process hashes a
file before its first use, and fetches it again if it is damaged. Files unused for `KEEP_DAYS` are removed as new
ones arrive. The folder can be removed whenever no process uses it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.storage.remote import ATTEMPTS

VARIABLE = "RECSYS_DIST_CACHE"
KEEP_DAYS = 30
PARTIAL = "partial-"


class FileCache:
    """The cache as seen by one reader of files."""

    def __init__(self) -> None:
        self._sound: set[Path] = set()
        """Files whose hash was checked."""

    def path(self, sha256: str, num_bytes: int, name: str, download: Callable[[str], None]) -> Path:
        """The local path of a file; `download` writes it to a path if it is not in the cache.

        Raises `DataError` with `name` if every download has the wrong content, `ConfigError` if the folder cannot
        be written.
        """
        path = cache_folder() / sha256[:2] / sha256
        try:
            if not self._is_sound(path, sha256, num_bytes):
                _fetch(path, sha256, name, download)
                self._sound.add(path)
        except DataError:
            raise
        except OSError as error:
            raise ConfigError(
                f"cannot cache {name} in {cache_folder()}: {error.strerror or error}; "
                f"name a folder with free space in the environment variable {VARIABLE}"
            ) from error
        return path

    def _is_sound(self, path: Path, sha256: str, num_bytes: int) -> bool:
        try:
            if path.stat().st_size != num_bytes:
                return False
            if path not in self._sound and _hash(path) == sha256:
                os.utime(path)
                self._sound.add(path)
        except FileNotFoundError:
            return False
        return path in self._sound


def cache_folder() -> Path:
    """The folder of the cache, which may not exist yet."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path("~/.cache").expanduser()) / "recsys_dist"


def _fetch(path: Path, sha256: str, name: str, download: Callable[[str], None]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(path.parent)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
    os.close(descriptor)
    try:
        for _ in range(ATTEMPTS):
            download(partial)
            if _hash(Path(partial)) == sha256:
                Path(partial).replace(path)
                return
    finally:
        Path(partial).unlink(missing_ok=True)
    raise DataError(f"{name} is damaged: its sha256 differs from the recorded one")


def _sweep(folder: Path) -> None:
    """Remove files that are long unused; hashes spread over the folders evenly, so each folder gets its turn."""
    oldest = time.time() - KEEP_DAYS * 86_400
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
