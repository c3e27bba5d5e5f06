"""The output folder of a preparation: claimed at the start, filled at the end.

    OUTPUT/preparing/KEY/       intermediate and new files (attempt.py)
    OUTPUT/.preparing.tables/   in-memory input (handed_over.py)
    OUTPUT/                     the dataset; an earlier one stays untouched until the new one is complete

The new dataset is valid once its manifest is in OUTPUT/preparing/KEY/dataset; its files then replace the earlier
ones. If this is interrupted, readers still find the new dataset there (`dataset.find_dataset`), and the next
preparation publishes it first. Only files that preparation writes are ever removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from recsys_dist.dataset.dataset import Dataset, complete_preparation
from recsys_dist.dataset.hashed_file import hash_name, write_hashed
from recsys_dist.dataset.manifest import DATASET, MANIFEST, PREPARING, Manifest
from recsys_dist.errors import BrokenOffError, ConfigError, DataError, StorageError
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.attempt import ATTEMPT, Attempt
from recsys_dist.preparation.tasks.journal import done_tasks
from recsys_dist.storage.folder import Folder

SCRATCH = "scratch"
SPILL = f".{PREPARING}.tables"
"""The folder of in-memory input; one left by a killed process counts as our own."""
# The manifest is removed first, so that the remaining files are not mistaken for a dataset.
OWN_NAMES = (MANIFEST, hash_name(MANIFEST), "users.parquet", "items.parquet", "ratings", "blocks", "rejects")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """The working folders of one preparation."""

    scratch: Scratch
    dataset: Folder
    """The folder for the files of the new dataset."""

    @classmethod
    def below(cls, folder: Folder) -> Work:
        """The working folders below OUTPUT/preparing/KEY."""
        return cls(Scratch(f"{folder.url}/{SCRATCH}"), folder.child(DATASET))

    @property
    def is_complete(self) -> bool:
        """Whether the new dataset is complete."""
        return self.dataset.exists(MANIFEST)


class Output:
    """The output folder."""

    def __init__(self, url: str, overwrite: bool) -> None:
        folder = Folder(url)
        if url.startswith("memory:"):
            raise ConfigError(f"output: workers cannot reach {url}; give a folder or an object store")
        # Workers may have a different working directory.
        self.folder = Folder(str(folder.local_path(""))) if folder.is_local else folder
        self.url = self.folder.url
        self._overwrite = overwrite
        names = self._names(url)
        foreign = sorted(name for name in names if not _is_own(name))
        if foreign:
            raise ConfigError(f"output: {url} holds other files ({', '.join(foreign)[:200]}); name a new folder")
        self.completed = self._put_into_place() if PREPARING in names else None
        """An earlier preparation that was complete and has now been published."""
        if MANIFEST in names and self.completed is None:
            self._require_overwrite()

    def _names(self, url: str) -> set[str]:
        try:
            return set(self.folder.names())
        except StorageError:
            # This error already names the URL.
            raise
        except OSError as error:
            raise ConfigError(f"output: cannot use {url}: {error.strerror or error}") from error

    def _require_overwrite(self) -> None:
        if not self._overwrite:
            raise ConfigError(f"output: {self.url} holds a prepared dataset; set overwrite to true to replace it")

    @contextmanager
    def spilling(self) -> Iterator[Folder]:
        """A folder for in-memory input, removed at the end of the block."""
        may_go = bool(self.folder.names()) or not self.folder.exists()
        spill = self.folder.child(SPILL)
        spill.remove()
        try:
            with self.writing():
                spill.make()
            yield spill
        finally:
            spill.remove()
            if may_go and not self.folder.names():
                self.folder.remove()

    @contextmanager
    def preparing(self, attempt: Attempt) -> Iterator[Work]:
        """The working folders of a preparation, including the finished tasks of an interrupted run.

        If a signal or the system (such as a full disk) ends the block, the folders stay for the next run. After an
        error in the data or settings, they are removed.
        """
        if self.completed is not None:
            self._require_overwrite()
        home = self.folder.child(f"{PREPARING}/{attempt.key}")
        work = Work.below(home)
        is_new = not self.folder.exists()
        try:
            with self.writing():
                is_new |= self._remove_others(attempt)
                home.write_bytes(ATTEMPT, attempt.to_bytes())
                work.scratch.folder.make()
                work.dataset.make()
            yield work
        except BaseException as error:
            if work.is_complete or (not _is_verdict(error) and done_tasks(work.scratch)):
                self._tell_what_stays(error)
            else:
                self._clear(is_new)
            raise

    def _remove_others(self, attempt: Attempt) -> bool:
        """Remove the folders of other preparations; return whether there were any, resumable ones included."""
        preparing = self.folder.child(PREPARING)
        for key in (names := preparing.names()):
            earlier = _read_attempt(preparing.child(key))
            if key == attempt.key and earlier is not None and not attempt.outlives(earlier):
                logger.warning("resuming the interrupted preparation of %s", self.url)
                continue
            changed = attempt.changed_input(earlier) if earlier is not None else None
            if changed is not None:
                logger.warning("%s has changed since the interruption; the preparation starts over", changed)
            preparing.remove(key)
        return bool(names)

    def _tell_what_stays(self, error: BaseException) -> None:
        kept = f"finished work is kept in {self.url}/{PREPARING}; the same command resumes from there"
        if isinstance(error, BrokenOffError):
            raise BrokenOffError(f"{error}; {kept}") from error
        logger.warning("%s", kept)

    def _clear(self, is_new: bool) -> None:
        self.folder.remove(PREPARING)
        if is_new and not self.folder.names():
            self.folder.remove()

    def publish(self, work: Work, manifest: Manifest) -> None:
        """Write the manifest and replace the earlier dataset; all other files must be written."""
        write_hashed(work.dataset, MANIFEST, manifest.to_bytes())
        self._put_into_place()

    def _put_into_place(self) -> Attempt | None:
        """Publish a complete but unpublished dataset and return its identity; None if there is none.

        If interrupted at any point, it starts over on the next call.
        """
        key = complete_preparation(self.folder)
        if key is None:
            return None
        home = self.folder.child(f"{PREPARING}/{key}")
        attempt, new = _read_attempt(home), Work.below(home).dataset
        with self.writing():
            self._sweep()
            manifest = Dataset.open(new.url).manifest
            for record in manifest.files:
                self.folder.take(new, record.name)
            write_hashed(self.folder, MANIFEST, manifest.to_bytes())
            self.folder.remove(PREPARING)
        return attempt

    def _sweep(self) -> None:
        self.folder.remove(MANIFEST)
        for name in self.folder.names():
            if _is_own(name) and name != PREPARING:
                self.folder.remove(name)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn an `OSError` in the block into a `BrokenOffError` about this folder."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise BrokenOffError(f"output: cannot write to {self.url}: {error.strerror or error}") from error


def _is_verdict(error: BaseException) -> bool:
    """Whether the error is in the data, so that the same input and settings would fail again."""
    return isinstance(error, DataError) and not isinstance(error, BrokenOffError | StorageError)


def _read_attempt(home: Folder) -> Attempt | None:
    """The identity of the preparation in a folder; None if it cannot be read."""
    try:
        return Attempt.model_validate_json(home.read_bytes(ATTEMPT))
    except (DataError, ValidationError):
        return None


def _is_own(name: str) -> bool:
    """Whether preparation writes this file or folder, or a killed process left it as a temporary file."""
    return any(name == own or name.startswith(f".{own}.") for own in (PREPARING, *OWN_NAMES))
