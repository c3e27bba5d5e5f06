"""Tables on stdout about a prepared dataset; only its manifest is read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.cli.show.model import noun, pairs_table, rating_row
from recsys_dist.console import new_console
from recsys_dist.dataset.manifest import SPLITS

if TYPE_CHECKING:
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.dataset.manifest import Manifest, Shard
    from recsys_dist.storage.folder import FileRecord


def print_manifest(dataset: Dataset) -> None:
    """Print counts and split, rows read and rejected, shards and their balance, files by kind."""
    manifest, output = dataset.manifest, new_console()
    output.print(_contents(dataset))
    output.print(_rows(manifest))
    output.print(_shards(manifest))
    output.print(_files(manifest.files))


def print_verified(dataset: Dataset) -> None:
    """Print that every file matches the manifest."""
    files = dataset.manifest.files
    new_console().print(f"All {len(files):,} files are as recorded: {sum(file.bytes for file in files):,} bytes")


def _contents(dataset: Dataset) -> Table:
    manifest, table = dataset.manifest, pairs_table("Dataset")
    kept = manifest.rows.kept
    table.add_row("users", f"{manifest.num_users:,}")
    table.add_row("items", f"{manifest.num_items:,}")
    for split in SPLITS:
        table.add_row(f"{noun(manifest)}s to {split}", f"{manifest.num_ratings.get(split, 0):,}")
    table.add_row("density", f"{kept / (manifest.num_users * manifest.num_items):.4%}")
    table.add_row(*rating_row(manifest))
    if manifest.timestamp_ticks > 1:
        table.add_row(
            "timestamps", f"in units of 1/{manifest.timestamp_ticks:,} of the input's unit (for dates: a second)"
        )
    rule = ", ".join(f"{key} {value}" for key, value in manifest.split.rule.items())
    table.add_row("split", rule)
    table.add_row("split fingerprint", manifest.split.fingerprint)
    table.add_row("digest", dataset.digest)
    table.add_row("folder", dataset.folder.url)
    return table


def _rows(manifest: Manifest) -> Table:
    table = _columns("Rows", "", "rows", "share")
    rows = manifest.rows
    counts = {"read": rows.read, "kept": rows.kept}
    counts |= {f"rejected: {reason}": count for reason, count in sorted(rows.rejected.items())}
    for name, count in counts.items():
        table.add_row(name, f"{count:,}", f"{count / max(rows.read, 1):.2%}")
    return table


def _shards(manifest: Manifest) -> Table:
    """`max / mean`: how much more work than an average shard the largest one is."""
    nouns = f"{noun(manifest)}s"
    names = ("side", "shards", "rows each", f"mean {nouns}", f"max {nouns}", "max / mean")
    table = _columns("Shards", *names)
    for side, shards in (("users", manifest.user_shards), ("items", manifest.item_shards)):
        table.add_row(side, *_shard_figures(shards))
    return table


def _shard_figures(shards: Sequence[Shard]) -> list[str]:
    rows, ratings = [shard.num_rows for shard in shards], [shard.num_ratings for shard in shards]
    mean = sum(ratings) / len(ratings)
    span = f"{min(rows):,} to {max(rows):,}"
    largest = f"{max(ratings) / mean:.3f}" if mean else "-"
    return [f"{len(shards):,}", span, f"{mean:,.1f}", f"{max(ratings):,}", largest]


def _files(files: Sequence[FileRecord]) -> Table:
    table = _columns("Files", "", "files", "rows", "bytes")
    ordered = sorted(files, key=_kind)
    groups = [(kind, list(group)) for kind, group in groupby(ordered, _kind)]
    for kind, group in [*groups, ("all", ordered)]:
        # A sum would count the train ratings, which the blocks repeat, three times.
        rows = f"{sum(file.rows for file in group):,}" if kind != "all" else ""
        table.add_row(kind, f"{len(group):,}", rows, f"{sum(file.bytes for file in group):,}")
    return table


def _kind(file: FileRecord) -> str:
    """The folder of a file; at the top level the file itself."""
    return file.name.rpartition("/")[0] or file.name


def _columns(title: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    return table
