"""Atomic creation of a model folder: complete, or not there at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.model_folder.manifest import ratings_name
from recsys_dist.model_folder.tables import TableWriter
from recsys_dist.storage.folder import FileRecord, Folder, sync_folder


class ModelWriter:
    """Writes the files of a model folder and collects their records."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.files: list[FileRecord] = []

    @contextmanager
    def table(self, name: str) -> Iterator[TableWriter]:
        """Write a table: append pieces of rows in order."""
        writer = TableWriter(self.folder, name)
        yield writer
        self.files += writer.close()

    def copy(self, source: Folder, record: FileRecord, name: str) -> None:
        """Copy a file under another name and check its sha256 on the way."""
        digest = hashlib.sha256()
        with source.local_copy(record).open("rb") as stream, self.folder.writer(name) as target:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != record.sha256:
            raise DataError(f"{source.url}/{record.name} is damaged: its sha256 differs from the recorded one")
        self.files.append(record.model_copy(update={"name": name}))

    def copy_dataset(self, dataset: Dataset) -> None:
        """Copy the id tables and the train ratings by user."""
        for side in ("users", "items"):
            self.copy(dataset.folder, dataset.id_file(side), f"{side}.parquet")
        for shard, record in enumerate(dataset.block_files("users")):
            self.copy(dataset.folder, record, ratings_name(shard))


@contextmanager
def new_folder(url: str) -> Iterator[Folder]:
    """A folder that exists at the end of the block, or not at all if the block fails.

    On a local disk it is written next to its final place and renamed; elsewhere it is removed on failure.
    Raises `CheckpointError` if `url` exists already.
    """
    target = Folder(url)
    if target.exists():
        raise CheckpointError(f"{url} exists already; remove it or choose another output")
    if not target.is_local:
        try:
            yield target
        except BaseException:
            target.remove()
            raise
        return
    final = target.local_path("")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}."))
    try:
        yield Folder(str(temporary))
        temporary.chmod(0o755)
        temporary.rename(final)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and _is_below(error.filename, temporary):
            # Report the requested path, not the temporary one.
            place = final / Path(error.filename).relative_to(temporary)
            raise OSError(error.errno, error.strerror, str(place)) from error
        raise
    sync_folder(final.parent)


def _is_below(name: object, folder: Path) -> bool:
    return isinstance(name, str) and Path(name).is_relative_to(folder)
