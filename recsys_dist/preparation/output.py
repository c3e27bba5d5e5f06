"""The folder that a dataset is prepared in: claimed before the work, filled at its end.

    OUTPUT/preparing/KEY/   the work: what passes between the stages, and the new files (see attempt.py)
    OUTPUT/.preparing.tables/   input that only the calling process has (see handed_over.py)
    OUTPUT/                 the dataset; an earlier one stands untouched until the new one is complete

The new dataset counts from the moment its manifest stands in OUTPUT/preparing/KEY/dataset: from then on it takes
the place of the earlier one. Where that is broken off, readers find it there (`dataset.find_dataset`) and the next
preparation puts it into its place first. Only what preparation itself writes is ever removed.
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
"""Where tables of the calling process are written; one that a killed process left is taken for our own."""
# The manifest goes first: from then on nothing takes what remains for a dataset.
OWN_NAMES = (MANIFEST, hash_name(MANIFEST), "users.parquet", "items.parquet", "ratings", "blocks", "rejects")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """Where one preparation works."""

    scratch: Scratch
    dataset: Folder
    """The folder for the files of the new dataset."""

    @classmethod
    def below(cls, folder: Folder) -> Work:
        """That of OUTPUT/preparing/KEY."""
        return cls(Scratch(f"{folder.url}/{SCRATCH}"), folder.child(DATASET))

    @property
    def is_complete(self) -> bool:
        """Whether the new dataset is."""
        return self.dataset.exists(MANIFEST)


class Output:
    """The folder to prepare into."""

    def __init__(self, url: str, overwrite: bool) -> None:
        folder = Folder(url)
        if url.startswith("memory:"):
            raise ConfigError(f"output: {url} lives in one process; the workers need a folder or an object store")
        # Workers may run in another folder than this process.
        self.folder = Folder(str(folder.local_path(""))) if folder.is_local else folder
        self.url = self.folder.url
        self._overwrite = overwrite
        names = self._names(url)
        foreign = sorted(name for name in names if not _is_own(name))
        if foreign:
            raise ConfigError(f"output: {url} holds other things ({', '.join(foreign)[:200]}); name a new folder")
        self.completed = self._put_into_place() if PREPARING in names else None
        """An earlier preparation whose dataset was complete, and is now in its place."""
        if MANIFEST in names and self.completed is None:
            self._require_overwrite()

    def _names(self, url: str) -> set[str]:
        try:
            return set(self.folder.names())
        except StorageError:
            # It names the URL as it is.
            raise
        except OSError as error:
            raise ConfigError(f"output: cannot use {url}: {error.strerror or error}") from error

    def _require_overwrite(self) -> None:
        if not self._overwrite:
            raise ConfigError(f"output: {self.url} holds a prepared dataset; set overwrite to true to replace it")

    @contextmanager
    def spilling(self) -> Iterator[Folder]:
        """A folder for input that only this process has; it lasts as long as the block."""
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
        """The folders of a preparation while it lasts, with what an earlier start of the same one has done.

        Where the machine ends it, by a signal or a full disk, they stay for the next start. Where the data or the
        settings do, nothing is left that was not there before.
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
        """Remove what is left of preparations that this one cannot go on with; whether there was any."""
        preparing = self.folder.child(PREPARING)
        for key in (names := preparing.names()):
            earlier = _read_attempt(preparing.child(key))
            if key == attempt.key and earlier is not None and not attempt.outlives(earlier):
                logger.warning("going on with the preparation of %s that was broken off", self.url)
                continue
            changed = attempt.changed_input(earlier) if earlier is not None else None
            if changed is not None:
                logger.warning("%s was changed since the preparation was broken off, which starts anew", changed)
            preparing.remove(key)
        return bool(names)

    def _tell_what_stays(self, error: BaseException) -> None:
        kept = f"what is done is kept in {self.url}/{PREPARING}, and the same command goes on from there"
        if isinstance(error, BrokenOffError):
            raise BrokenOffError(f"{error}; {kept}") from error
        logger.warning("%s", kept)

    def _clear(self, is_new: bool) -> None:
        self.folder.remove(PREPARING)
        if is_new and not self.folder.names():
            self.folder.remove()

    def publish(self, work: Work, manifest: Manifest) -> None:
        """Let the files of the new dataset, which are all written, take the place of what stands here."""
        write_hashed(work.dataset, MANIFEST, manifest.to_bytes())
        self._put_into_place()

    def _put_into_place(self) -> Attempt | None:
        """Do so where a dataset is complete but not in its place, and return what it was made from.

        It may be broken off anywhere, and is done again from its beginning.
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
        """What the operating system refuses in the block is a `BrokenOffError` about this folder."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise BrokenOffError(f"output: cannot write to {self.url}: {error.strerror or error}") from error


def _is_verdict(error: BaseException) -> bool:
    """Whether the error is about the data, so that the same input and settings would meet it again."""
    return isinstance(error, DataError) and not isinstance(error, BrokenOffError | StorageError)


def _read_attempt(home: Folder) -> Attempt | None:
    """What was being prepared in a folder; None where that cannot be told."""
    try:
        return Attempt.model_validate_json(home.read_bytes(ATTEMPT))
    except (DataError, ValidationError):
        return None


def _is_own(name: str) -> bool:
    """Whether preparation writes a file or folder of that name, or a process killed while writing it left it."""
    return any(name == own or name.startswith(f".{own}.") for own in (PREPARING, *OWN_NAMES))
