"""The folder that a dataset is prepared in: claimed before the work, filled at its end.

    OUTPUT/preparing/scratch/   what passes between the stages
    OUTPUT/preparing/dataset/   the new files, until all are complete
    OUTPUT/                     the dataset; an earlier one stands untouched until the new one takes its place

Only what preparation itself writes is ever removed. On a local disk the files are renamed into place; behind a URL
the filesystem moves them, which an object store does by copying.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_dist.data.dataset import MANIFEST, Manifest
from recsys_dist.data.scratch import Scratch
from recsys_dist.errors import ConfigError, DataError, StorageError
from recsys_dist.storage import Folder

PREPARING = "preparing"
DATASET = f"{PREPARING}/dataset"
SCRATCH = f"{PREPARING}/scratch"
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
        self.new = self.folder.child(DATASET)
        """The folder to write the files of the new dataset to."""
        try:
            names = set(folder.names())
        except StorageError:
            # It names the URL as it is.
            raise
        except OSError as error:
            raise ConfigError(f"output: cannot use {url}: {error.strerror or error}") from error
        foreign = sorted(name for name in names if not _is_own(name))
        if foreign:
            raise ConfigError(f"output: {url} holds other things ({', '.join(foreign)[:200]}); name a new folder")
        if MANIFEST in names and not overwrite:
            raise ConfigError(f"output: {url} holds a prepared dataset; set overwrite to true to replace it")

    def publish(self, manifest: Manifest) -> None:
        """Put the files written to `new` in the place of what an earlier preparation left, complete or not.

        The old manifest is removed first and the new one written last: a dataset is complete or none at all.
        """
        try:
            self._sweep()
            for name in self.new.names():
                self.folder.move(f"{DATASET}/{name}", name)
            self.folder.write_bytes(MANIFEST, manifest.to_bytes())
        except BaseException:
            self._sweep()
            raise

    def _sweep(self) -> None:
        self.folder.remove(MANIFEST)
        for name in self.folder.names():
            if _is_own(name) and name != PREPARING:
                self.folder.remove(name)

    @contextmanager
    def preparing(self) -> Iterator[Scratch]:
        """A scratch folder while the work lasts; where it fails, what it had written is removed as well."""
        scratch = Scratch(f"{self.url}/{SCRATCH}")
        existed = self.folder.exists()
        try:
            with self.writing():
                self.folder.remove(PREPARING)
                scratch.folder.make()
                self.new.make()
            yield scratch
        finally:
            self.folder.remove(PREPARING)
            if not existed and not self.folder.names():
                self.folder.remove()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What the operating system refuses in the block is a `DataError` about this folder."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise DataError(f"output: cannot write to {self.url}: {error.strerror or error}") from error


def _is_own(name: str) -> bool:
    """Whether preparation writes a file or folder of that name, or a process killed while writing it left it."""
    return name == PREPARING or any(name == own or name.startswith(f".{own}.") for own in OWN_NAMES)
