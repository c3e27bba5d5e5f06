"""Results of the commands: one table each, on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from pathlib import Path

    from recsys_dist.dataset.manifest import Manifest
    from recsys_dist.model_folder.manifest import ModelManifest


def print_dataset(manifest: Manifest, output: str, seconds: float, remarks: Sequence[str] = ()) -> None:
    """Print the summary of a preparation: rows read, rows rejected and why, the dataset, remarks."""
    table = pairs_table("Prepared dataset")
    table.add_row("rows read", f"{manifest.rows.read:,}")
    table.add_row("rows kept", f"{manifest.rows.kept:,}")
    for reason, count in sorted(manifest.rows.rejected.items()):
        table.add_row(f"rejected: {reason}", f"{count:,}")
    table.add_row("users", f"{manifest.num_users:,}")
    table.add_row("items", f"{manifest.num_items:,}")
    table.add_row("density", f"{manifest.rows.kept / (manifest.num_users * manifest.num_items):.4%}")
    for split, count in manifest.num_ratings.items():
        table.add_row(f"{noun(manifest)}s to {split}", f"{count:,}")
    table.add_row(*rating_row(manifest))
    table.add_row("shards", f"{len(manifest.user_shards)} of users, {len(manifest.item_shards)} of items")
    table.add_row("seconds", f"{seconds:.1f}")
    table.add_row("output", output)
    console = new_console()
    console.print(table)
    for remark in remarks:
        console.print(f"Note: {remark}", soft_wrap=True)


def noun(manifest: Manifest) -> str:
    """What a row of the dataset is."""
    return "rating" if manifest.has_ratings else "interaction"


def rating_row(manifest: Manifest) -> tuple[str, str]:
    """Label and range of the values of the train rows."""
    rating = manifest.rating
    label = "rating" if manifest.has_ratings else "interactions per pair"
    return label, f"{rating.min:g} to {rating.max:g}, mean {rating.mean:.4f}"


ENDINGS = {
    "EARLY_STOPPED": "Stopped early: validation no longer improves.",
    "CONVERGED": "Finished: the model has converged.",
}


def print_outcome(outcome: str, run_dir: str) -> None:
    """Print how training ended, and the next command."""
    console = new_console()
    if outcome == "PREEMPTED":
        console.print("Stopped: the state is saved. The same command continues.")
        return
    ended = ENDINGS.get(outcome, "Finished.")
    console.print(f"{ended} Next: recsys-dist merge {shlex.quote(run_dir)} --output MODEL_DIR", soft_wrap=True)


def print_model(manifest: ModelManifest, output: str) -> None:
    """Print the summary of a merge."""
    table = pairs_table("Model")
    table.add_row("kind", manifest.kind)
    table.add_row("step", f"{manifest.step}")
    table.add_row("users", f"{manifest.num_users:,}")
    table.add_row("items", f"{manifest.num_items:,}")
    table.add_row("files", f"{len(manifest.files)}, {sum(file.bytes for file in manifest.files) / 1e6:,.1f} MB")
    table.add_row("digest", manifest.contents_digest)
    table.add_row("output", output)
    new_console().print(table)


def print_page(output: Path) -> None:
    """Print where the page is."""
    new_console().print(f"Wrote {output}: open it in a browser.", soft_wrap=True)


def pairs_table(title: str) -> Table:
    """A table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    return table
