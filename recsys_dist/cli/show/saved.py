"""Tables on stdout about a training run and about a model folder; only their manifests and records are read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recsys_dist.cli.show.model import pairs_table
from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.model_folder.folder import ModelFolder
    from recsys_dist.report.run.run_record import Epoch, RunRecord, Status

STATES = {
    "running": "running, or killed",
    "preempted": "stopped; its state is saved",
}


def print_run(record: RunRecord) -> None:
    """Print status, epochs and best epoch of a run, its model, dataset and folder, and the next command."""
    config, table, output = record.config, pairs_table("Training run"), new_console()
    table.add_row("status", _status(record.status))
    table.add_row("epochs", f"{record.epochs[-1].epoch if record.epochs else 0} of {config.training.epochs}")
    if record.epochs:
        table.add_row("last epoch", _figures(record.epochs[-1]))
        table.add_row("seconds", f"{sum(epoch.seconds or 0 for epoch in record.epochs):,.1f}")
    if record.best is not None:
        table.add_row("best epoch", f"{record.best[0]}, valid RMSE {record.best[1]:.4f}, which merge takes")
    table.add_row("family", config.model.kind)
    _add_settings(table, config.model.model_dump(mode="json"))
    table.add_row("dataset", config.dataset)
    table.add_row("folder", record.url)
    output.print(table)
    run_dir = shlex.quote(record.url)
    if record.status.state == "finished":
        output.print(f"Next: recsys-dist merge {run_dir} --output MODEL_DIR", soft_wrap=True)
    elif record.status.state != "running":
        output.print("Next: the command that started the run continues it.", soft_wrap=True)


def print_model_folder(model: ModelFolder) -> None:
    """Print the family of a model, its sizes and figures, and what it was trained on."""
    manifest, table = model.manifest, pairs_table("Model")
    table.add_row("family", manifest.kind)
    table.add_row("epochs", f"{manifest.step}")
    table.add_row("users", f"{manifest.num_users:,}")
    table.add_row("items", f"{manifest.num_items:,}")
    table.add_row("train ratings", f"{sum(shard.num_ratings for shard in manifest.user_shards):,}")
    rating = manifest.rating
    table.add_row("rating", f"{rating.min:g} to {rating.max:g}, mean {rating.mean:.4f}")
    settings: Any = manifest.config.get("model")
    _add_settings(table, settings if isinstance(settings, dict) else {})
    for name, value in manifest.facts.items():
        if isinstance(value, int | float | str):
            table.add_row(name.replace("_", " "), f"{value:.6g}" if isinstance(value, float) else f"{value}")
    table.add_row("dataset", str(manifest.config.get("dataset", "unknown")))
    table.add_row("digest of the dataset", manifest.provenance.dataset_digest)
    table.add_row("files", f"{len(manifest.files)}, {sum(file.bytes for file in manifest.files) / 1e6:,.1f} MB")
    table.add_row("digest", manifest.contents_digest)
    table.add_row("written by", f"recsys-dist {manifest.provenance.recsys_dist}")
    table.add_row("folder", model.folder.url)
    new_console().print(table)


def print_model_verified(model: ModelFolder) -> None:
    """Print that every file matches the manifest."""
    new_console().print(f"All {len(model.manifest.files):,} files are as recorded")


def _status(status: Status) -> str:
    if status.state == "failed":
        return f"failed: {status.error}"
    if status.state == "finished":
        return f"finished ({status.outcome})" if status.outcome not in {None, "finished"} else "finished"
    return STATES[status.state]


def _figures(epoch: Epoch) -> str:
    figures = {"train RMSE": epoch.train_rmse, "valid RMSE": epoch.valid_rmse}
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None) or "no RMSE"


def _add_settings(table: Any, settings: Mapping[str, Any]) -> None:
    """Rows of the settings of a model that are set, other than its kind."""
    for name, value in settings.items():
        if name != "kind" and isinstance(value, int | float | str):
            table.add_row(f"model.{name}", f"{value}")
