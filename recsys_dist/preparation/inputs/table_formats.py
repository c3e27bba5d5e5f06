"""Tables of many Parquet files of which only a log says which ones count: Delta Lake, Iceberg, Hudi, Paimon.

Deleted and superseded rows stay in files that the log has given up, so that to read all files is to read wrong
rows. Such a table is refused by name wherever it is met: as a folder, below one, or by a path that leads into it.
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
"""Filesystems that tell of no folder above a file."""


@dataclass(frozen=True)
class TableFormat:
    """A format, where its log lies below the folder of the table, and how its rows become plain files."""

    name: str
    log: str
    files: str
    """A pattern of the names in it, which other folders of that name do not hold."""
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
    """Refuses what lies in such a table; asks the filesystem once for each folder."""

    key: str
    fs: Filesystem
    _cleared: set[str] = field(default_factory=set)

    def check_file(self, path: str, name: str) -> None:
        """Raise `DataError` where a file, which people call `name`, lies in a table, or is a link into one."""
        self.check_above(posixpath.dirname(path), name)
        if self.fs.is_local:
            self.check_above(posixpath.dirname(os.path.realpath(path)), name)

    def check_above(self, path: str, name: str) -> None:
        """Raise `DataError` where the folder `path` is a table or lies below one; people call it `name`."""
        if self.fs.url.startswith(NO_FOLDERS):
            return
        for folder in _folders(path):
            if folder in self._cleared:
                break
            for table in FORMATS:
                if any(re.fullmatch(table.files, one) for one in self._names(f"{folder}/{table.log}")):
                    url = folder if self.fs.is_local else str(self.fs.call("unstrip_protocol", folder))
                    self._refuse(table, url, "" if folder == path else f"{name} lies in ")
        self._cleared.update(_folders(path))

    def check_below(self, name: str, paths: Iterable[str]) -> None:
        """Raise `DataError` where the files below the folder `name`, given relative to it, hold a table's log."""
        for path in sorted(paths, key=lambda path: (path.count("/"), path)):
            *above, log, file = ["", *path.split("/")]
            for table in FORMATS:
                if log == table.log and re.fullmatch(table.files, file):
                    self._refuse(table, "/".join([name, *above[1:]]), "")

    def _names(self, folder: str) -> list[str]:
        """The names in a folder; none where there is none, or nobody may look."""
        try:
            entries = self.fs.call("ls", folder, detail=False)
        except (OSError, StorageError):
            return []
        paths = (str(entry).rstrip("/") for entry in entries)
        return [posixpath.basename(path) for path in paths if path != folder]

    def _refuse(self, table: TableFormat, folder: str, before: str) -> None:
        where = f"{before}{folder}, which" if before else folder
        raise DataError(
            f"{self.key}: {where} is {table.name}: its log says which of its files count; export it as plain "
            f"Parquet or CSV, {table.export.format(folder=folder)}"
        )


def _folders(path: str) -> Iterator[str]:
    """The path and all folders above it, the nearest first."""
    path = path.rstrip("/")
    while path:
        yield path
        above = posixpath.dirname(path)
        path = above if above != path and "://" not in path else ""
