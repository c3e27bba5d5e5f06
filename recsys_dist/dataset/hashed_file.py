"""A file with its hash in a second file beside it, such as manifest.json and manifest.sha256.

The hash file has the format of `sha256sum -c`. It is written first, so that the file itself stays the last one.
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
    """Write the hash file, then the file `name`."""
    folder.write_bytes(hash_name(name), _line(name, data))
    folder.write_bytes(name, data)


def read_hashed(folder: Folder, name: str) -> bytes:
    """The content of the file `name`; unchecked if it has no hash file.

    Raises `DataError` if the file cannot be read or does not match its hash.
    """
    data = folder.read_bytes(name)
    if folder.exists(hash_name(name)) and folder.read_bytes(hash_name(name)) != _line(name, data):
        raise DataError(
            f"{folder.url}/{name} is damaged, or {hash_name(name)} is: they do not match; restore both"
        )
    return data


def _line(name: str, data: bytes) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()
