"""The folder of an export: complete, or as it was before.

PATH/
  ...             the files of the target
  export.json     target, model, figures
  SHA256SUMS      of all other files, for `sha256sum -c`; written last
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.model_folder.manifest import ModelManifest
from recsys_dist.model_folder.writer import ModelWriter, new_folder
from recsys_dist.storage.folder import Folder
from recsys_dist.version import __version__

EXPORT_FILE, SUMS_FILE = "export.json", "SHA256SUMS"
FORMAT = "recsys_dist.export"
Figures = Mapping[str, Any]
"""What an export says about itself: counts, choices, measurements."""


class ExportWriter(ModelWriter):
    """Writes the files of an export and collects their records."""

    def write(self, name: str, data: bytes) -> None:
        """A whole file."""
        self.files.append(self.folder.write_bytes(name, data))

    @contextmanager
    def parquet(self, name: str, schema: pa.Schema) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """A Parquet file: append blocks of columns."""
        with self.folder.writer(name) as stream, pq.ParquetWriter(stream, schema) as writer:
            rows = 0

            def append(columns: Mapping[str, Any]) -> None:
                nonlocal rows
                table = pa.table(dict(columns), schema=schema)
                rows += len(table)
                writer.write_table(table)

            yield append
        self.files.append(self.folder.record(name, rows))

    def finish(self, to: str, model: ModelManifest, figures: Figures) -> None:
        """Write export.json and the checksums."""
        tree: dict[str, Any] = {
            "format": FORMAT,
            "format_version": 1,
            "to": to,
            "model": {
                "kind": model.kind,
                "digest": model.contents_digest,
                "num_users": model.num_users,
                "num_items": model.num_items,
            },
            "recsys_dist": __version__,
            **figures,
        }
        self.write(EXPORT_FILE, (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode())
        sums = io.StringIO()
        for record in sorted(self.files, key=lambda one: one.name):
            sums.write(f"{record.sha256}  {record.name}\n")
        self.folder.write_bytes(SUMS_FILE, sums.getvalue().encode())


def check_output(url: str, to: str) -> None:
    """Raise `CheckpointError` if `url` is taken, unless by a local export to the same target: it is replaced.

    An export with files that are not its own, such as those of git, is not replaced either.
    """
    target = Folder(url)
    if not target.exists():
        return
    found = _exported_to(target)
    if found is None:
        raise CheckpointError(f"{url} exists already; remove it or give another output")
    if found != to:
        raise CheckpointError(f"{url} is an export to {found}, not to {to}; remove it or give another output")
    if not target.is_local:
        raise CheckpointError(f"{url} exists already, and only a local folder is replaced; remove it first")
    if other := _other_file(target):
        raise CheckpointError(
            f"{url} holds other files than its export, such as {other}; move them, or give another output"
        )


@contextmanager
def export_folder(url: str, to: str) -> Iterator[ExportWriter]:
    """The folder of an export: it takes its place when the block ends, see `check_output`."""
    check_output(url, to)
    target = Folder(url)
    if not target.exists():
        with new_folder(url) as folder:
            yield ExportWriter(folder)
        return
    final = target.local_path("").resolve()
    fresh = final.with_name(f".{final.name}.{uuid4().hex}")
    with new_folder(str(fresh)) as folder:
        yield ExportWriter(folder)
    _replace(final, fresh)


def _replace(final: Path, fresh: Path) -> None:
    old = final.with_name(f".{final.name}.{uuid4().hex}")
    final.rename(old)
    try:
        fresh.rename(final)
    except OSError:
        old.rename(final)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _other_file(folder: Folder) -> str | None:
    """The first file of a local export that its checksums do not name; None if there is none."""
    root, own = folder.local_path(""), {SUMS_FILE}
    if folder.exists(SUMS_FILE):
        lines = folder.read_bytes(SUMS_FILE).decode(errors="replace").splitlines()
        own |= {line.partition("  ")[2] for line in lines}
    found = (path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if not path.is_dir())
    return next((name for name in found if name not in own), None)


def _exported_to(folder: Folder) -> str | None:
    """The target of the export in a folder; None if it holds none."""
    if not folder.exists(EXPORT_FILE):
        return None
    try:
        tree = json.loads(folder.read_bytes(EXPORT_FILE))
    except (DataError, ValueError):
        return None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        return None
    return str(tree.get("to"))
