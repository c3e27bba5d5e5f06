"""Refuses tables of many Parquet files whose log lists the current ones: Delta Lake, Iceberg, Hudi, Paimon.

Deleted and superseded rows stay in files that the log has dropped, so reading all files would give wrong rows.
Such a table is refused as a folder, below a folder, or if a path leads into it.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from recsys_dist.errors import DataError, StorageError
from recsys_dist.storage.filesystem import Filesystem

NO_FOLDERS = ("http://", "https://")
"""Filesystems that cannot list the folders above a file."""


@dataclass(frozen=True)
class TableFormat:
    """A table format: its name, the folder of its log, and how to export its rows to plain files."""

    name: str
    log: str
    files: str
    """A pattern of file names in the log folder that distinguishes it from other folders of that name."""
    export: str


COPY = "for example with DuckDB: COPY (SELECT * FROM {reader}('{folder}')) TO 'ratings.parquet'"
SPARK = "for example with Spark: spark.read.format('{reader}').load('{folder}').write.parquet('ratings')"
ICEBERG = r"(v[0-9]+|[0-9]+-[0-9a-f-]+)(\.gz)?\.metadata\.json(\.gz)?"
FORMATS = (
    TableFormat("a Delta table", "_delta_log", r".*", COPY.replace("{reader}", "delta_scan")),
    TableFormat("an Iceberg table", "metadata", ICEBERG, COPY.replace("{reader}", "iceberg_scan")),
    TableFormat("a Hudi table", ".hoodie", r".*", SPARK.replace("{reader}", "hudi")),
    TableFormat("a Paimon table", "snapshot", r"snapshot-[0-9]+", SPARK.replace("{reader}", "paimon")),
)


@dataclass(frozen=True)
class TableGuard:
    """Refuses files of such tables; lists each folder only once."""

    key: str
    fs: Filesystem
    _cleared: set[str] = field(default_factory=set)

    def check_file(self, path: str, name: str) -> None:
        """Raise `DataError` if a file, called `name` in errors, is in a table or a link into one."""
        self.check_above(posixpath.dirname(path), name)
        if self.fs.is_local:
            self.check_above(posixpath.dirname(os.path.realpath(path)), name)

    def check_above(self, path: str, name: str) -> None:
        """Raise `DataError` if the folder `path`, called `name` in errors, is a table or below one."""
        if self.fs.url.startswith(NO_FOLDERS):
            return
        for folder in _folders(path):
            if folder in self._cleared:
                break
            for table in FORMATS:
                if any(re.fullmatch(table.files, one) for one in self._names(f"{folder}/{table.log}")):
                    url = folder if self.fs.is_local else str(self.fs.call("unstrip_protocol", folder))
                    self._refuse(table, url, "" if folder == path else f"{name} is in ")
        self._cleared.update(_folders(path))

    def check_below(self, name: str, paths: Iterable[str]) -> None:
        """Raise `DataError` if `paths`, relative to the folder `name`, contain a table's log."""
        for path in sorted(paths, key=lambda path: (path.count("/"), path)):
            *above, log, file = ["", *path.split("/")]
            for table in FORMATS:
                if log == table.log and re.fullmatch(table.files, file):
                    self._refuse(table, "/".join([name, *above[1:]]), "")

    def _names(self, folder: str) -> list[str]:
        """The names in a folder; empty if it does not exist or cannot be read."""
        try:
            entries = self.fs.call("ls", folder, detail=False)
        except (OSError, StorageError):
            return []
        paths = (str(entry).rstrip("/") for entry in entries)
        return [posixpath.basename(path) for path in paths if path != folder]

    def _refuse(self, table: TableFormat, folder: str, before: str) -> None:
        where = f"{before}{folder}, which" if before else folder
        raise DataError(
            f"{self.key}: {where} is {table.name}: only its log lists its current files; export it as plain "
            f"Parquet or CSV, {table.export.format(folder=folder)}"
        )


def _folders(path: str) -> Iterator[str]:
    """The path and all folders above it, nearest first."""
    path = path.rstrip("/")
    while path:
        yield path
        above = posixpath.dirname(path)
        path = above if above != path and "://" not in path else ""
