"""Writes in-memory tables, such as data frames, to files that every worker can read.

    OUTPUT/.preparing.tables/NAME-00000.parquet ...    kept while the preparation runs

In: record batches. Out: ordinary input files, but messages show the table's name and row numbers, and their
identity is a hash of the content, so that an interrupted preparation resumes after they are written again.
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
    """A table that is read once. Reading must raise only `RecsysDistError`."""

    name: str
    """The table's name in messages."""
    batches: Callable[[], Iterable[pa.RecordBatch]]
    """Starts reading. Each batch becomes a row group; a change of column types starts a new file."""

    def write(self, folder: Folder) -> list[InputFile]:
        """Write the table into a folder. Raises `DataError` if it has no rows, and `OSError`."""
        files = [
            self._write_part(folder, number, schema, group)
            for number, (schema, group) in enumerate(groupby(self.batches(), attrgetter("schema")))
        ]
        if not files:
            raise DataError(f"no rows in the {self.name}")
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
    """In-memory tables to prepare instead of files."""

    ratings: TableRows | None = None
    """Columns `user`, `item`, `rating` and optionally `timestamp`; None: the files of the settings."""
    titles: TableRows | None = None
    """Columns `item` and `title`; None: the files of the settings, if any."""

    def write(self, folder: Folder) -> WrittenTables:
        """Write both tables into a folder; see `TableRows.write`."""
        parts = (self.ratings, self.titles)
        ratings, titles = (None if rows is None else rows.write(folder) for rows in parts)
        return WrittenTables(ratings, titles)


@dataclass(frozen=True)
class WrittenTables:
    """The files of both tables; None for a missing table."""

    ratings: list[InputFile] | None = None
    titles: list[InputFile] | None = None


NO_TABLES = HandedOver()
