"""Tables that only the calling process holds, such as data frames: written where every worker can read them.

    OUTPUT/.preparing.tables/NAME-00000.parquet ...    as long as the preparation lasts

In: record batches. Out: input files like any others, but people know them by the name of the table and by its
rows, and to an attempt they are the same input whenever they were written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.sources import InputFile, stamp_of
from recsys_dist.storage.filesystem import Filesystem
from recsys_dist.storage.folder import Folder


@dataclass(frozen=True)
class TableRows:
    """A table that is gone through once. What reading it raises must be a `RecsysDistError`."""

    name: str
    """What people know it by."""
    batches: Callable[[], Iterable[pa.RecordBatch]]
    """Begins to read. Each batch becomes a row group; where the types of columns change, so does the file."""

    def write(self, folder: Folder) -> list[InputFile]:
        """Write it into a folder. Raises `DataError` where it has no rows, and what the operating system does."""
        files = [
            self._write_part(folder, number, schema, group)
            for number, (schema, group) in enumerate(groupby(self.batches(), attrgetter("schema")))
        ]
        if not files:
            raise DataError(f"there are no rows in the {self.name}")
        content = hashlib.sha256("\n".join(file.content for file in files).encode()).hexdigest()
        return [replace(file, content=content) for file in files]

    def _write_part(
        self, folder: Folder, number: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
    ) -> InputFile:
        name = f"{self.name}-{number:05d}.parquet"
        with folder.writer(name) as stream, pq.ParquetWriter(stream, schema, write_statistics=False) as writer:
            for batch in batches:
                writer.write_batch(batch)
        record = folder.record(name, rows=0)
        url = str(folder.local_path(name)) if folder.is_local else f"{folder.url}/{name}"
        fs = Filesystem(url)
        _, stamp = stamp_of(fs, fs.path)
        return InputFile(self.name, url, record.bytes, "parquet", stamp=stamp, content=record.sha256)


@dataclass(frozen=True)
class HandedOver:
    """What is prepared in place of files."""

    ratings: TableRows | None = None
    """Columns `user`, `item`, `rating` and perhaps `timestamp`; None: the files of the settings."""
    titles: TableRows | None = None
    """Columns `item` and `title`; None: the files of the settings, if any."""

    def write(self, folder: Folder) -> WrittenTables:
        """Write both into a folder; see `TableRows.write`."""
        parts = (self.ratings, self.titles)
        ratings, titles = (None if rows is None else rows.write(folder) for rows in parts)
        return WrittenTables(ratings, titles)


@dataclass(frozen=True)
class WrittenTables:
    """The files of both; None where there is no such table."""

    ratings: list[InputFile] | None = None
    titles: list[InputFile] | None = None


NO_TABLES = HandedOver()
