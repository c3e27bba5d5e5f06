"""A file that nothing else lists, with its own hash in a file beside it: manifest.json and manifest.sha256.

The hash file is what `sha256sum -c` reads. It is written first, so that the file itself is still what comes last.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from recsys_dist.errors import DataError
from recsys_dist.storage.folder import Folder


def hash_name(name: str) -> str:
    """The name of the file that holds the hash of `name`."""
    return str(PurePosixPath(name).with_suffix(".sha256"))


def write_hashed(folder: Folder, name: str, data: bytes) -> None:
    """Write the file `name` after its hash."""
    folder.write_bytes(hash_name(name), _line(name, data))
    folder.write_bytes(name, data)


def read_hashed(folder: Folder, name: str) -> bytes:
    """The content of the file `name`; unchecked where no hash stands beside it.

    Raises `DataError` where it cannot be read, or differs from its hash.
    """
    data = folder.read_bytes(name)
    if folder.exists(hash_name(name)) and folder.read_bytes(hash_name(name)) != _line(name, data):
        raise DataError(
            f"{folder.url}/{name} is damaged, or {hash_name(name)} beside it: they do not agree; restore them"
        )
    return data


def _line(name: str, data: bytes) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()
