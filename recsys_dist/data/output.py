"""The folder that a dataset is prepared in: claimed before the work, swept after a failure.

What stands there already is touched only when the input has proved good, and only what preparation itself writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_dist.data.dataset import MANIFEST
from recsys_dist.data.scratch import Scratch
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.storage import Folder

SCRATCH = "preparing"
# The manifest goes first: from then on nothing takes what remains for a dataset.
OWN_NAMES = (MANIFEST, "users.parquet", "items.parquet", "ratings", "blocks", "rejects")


class Output:
    """The folder to prepare into."""

    def __init__(self, url: str, overwrite: bool) -> None:
        folder = Folder(url)
        if url.startswith("memory:"):
            raise ConfigError(f"output: {url} lives in one process; the workers need a folder or an object store")
        # Workers may run in another folder than this process.
        self.folder = Folder(str(folder.local_path(""))) if folder.is_local else folder
        self.url = self.folder.url
        self._is_swept = False
        try:
            names = set(folder.names())
        except OSError as error:
            raise ConfigError(f"output: cannot use {url}: {error.strerror or error}") from error
        foreign = sorted(names - {*OWN_NAMES, SCRATCH})
        if foreign:
            raise ConfigError(f"output: {url} holds other things ({', '.join(foreign)[:200]}); name a new folder")
        if MANIFEST in names and not overwrite:
            raise ConfigError(f"output: {url} holds a prepared dataset; set overwrite to true to replace it")

    def sweep(self) -> None:
        """Remove what an earlier preparation left, complete or not."""
        for name in OWN_NAMES:
            self.folder.remove(name)
        self._is_swept = True

    def _undo(self) -> None:
        if self._is_swept:
            self.sweep()

    @contextmanager
    def preparing(self) -> Iterator[Scratch]:
        """A scratch folder while the work lasts; where it fails, what it had written is removed as well."""
        scratch = Scratch(f"{self.url}/{SCRATCH}")
        existed = self.folder.exists()
        try:
            self.folder.remove(SCRATCH)
            scratch.folder.make()
            yield scratch
        except OSError as error:
            self._undo()
            raise DataError(f"output: cannot write to {self.url}: {error.strerror or error}") from error
        except BaseException:
            self._undo()
            raise
        finally:
            self.folder.remove(SCRATCH)
            if not existed and not self.folder.names():
                self.folder.remove()
