"""A model as files for other programs: `export(predictor, output, to)`.

Each target is a function that writes its files and returns its figures; the folder appears when all is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recsys_dist.errors import CheckpointError, ConfigError
from recsys_dist.export.faiss_index import write_faiss
from recsys_dist.export.hnsw_index import write_hnsw
from recsys_dist.export.hub import write_hub_folder
from recsys_dist.export.onnx_files import write_onnx
from recsys_dist.export.output import ExportWriter, Figures, check_output, export_folder
from recsys_dist.export.parquet import write_parquet
from recsys_dist.inference.predictor import Predictor
from recsys_dist.plain_text import text_table
from recsys_dist.storage.folder import FileRecord, Folder
from recsys_dist.suggestions import did_you_mean

HUB_FOLDER = "hub-folder"
Writer = Callable[[Predictor, ExportWriter], Figures]
WRITERS: dict[str, Writer] = {
    "parquet": write_parquet,
    "faiss": write_faiss,
    "hnsw": write_hnsw,
    "onnx": write_onnx,
}
"""All targets but the one that takes an evaluation."""
TARGETS = (*WRITERS, HUB_FOLDER)


@dataclass(frozen=True, repr=False)
class Exported:
    """The outcome of an export."""

    to: str
    url: str
    figures: dict[str, Any]
    """What export.json says about it, such as the recall of an index."""
    files: tuple[FileRecord, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, for people."""
        shown = [
            (name.replace("_", " "), _shown(value))
            for name, value in self.figures.items()
            if isinstance(value, bool | int | float | str)
        ]
        size = f"{len(self.files)}, {sum(record.bytes for record in self.files) / 1e6:,.1f} MB"
        return [("target", self.to), *shown, ("files", size), ("output", self.url)]

    def __repr__(self) -> str:
        return text_table(self.rows(), numbers=0)


def check_target(to: str, evaluation: Path | None = None, without_users: bool = False) -> None:
    """Raise `ConfigError` if there is no such target, or if it takes no evaluation or needs users."""
    if to not in TARGETS:
        raise ConfigError(f"export --to {to}: use {', '.join(TARGETS)}{did_you_mean(to, TARGETS)}")
    if to == HUB_FOLDER:
        return
    for option, is_given in (("--evaluation", evaluation is not None), ("--without-users", without_users)):
        if is_given:
            raise ConfigError(f"{option} is for --to {HUB_FOLDER}; leave it out with --to {to}")


def export(
    predictor: Predictor, output: str, to: str, evaluation: Path | None = None, without_users: bool = False
) -> Exported:
    """Write the model to the new folder `output` in the form of a target.

    A local export to the same target is replaced. Raises `ConfigError` for a target that there is not, that the
    model cannot be exported to, or whose extra is not installed, and `CheckpointError` if `output` is taken.
    """
    check_target(to, evaluation, without_users)
    check_output(output, to)
    _require_another(output, predictor.catalog.folder.folder)
    hub = partial(write_hub_folder, evaluation=evaluation, without_users=without_users)
    write = hub if to == HUB_FOLDER else WRITERS[to]
    with export_folder(output, to) as out:
        figures = write(predictor, out)
        out.finish(to, predictor.catalog.folder.manifest, figures)
    return Exported(to, output, dict(figures), tuple(out.files))


def _require_another(output: str, model: Folder) -> None:
    """Raise `CheckpointError` if the export would replace the model that it is made of."""
    target = Folder(output)
    if target.is_local and model.is_local and target.local_path("").resolve() == model.local_path("").resolve():
        raise CheckpointError(f"{output} is the model itself; give another output")


def _shown(value: float | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}" if isinstance(value, float) else value
