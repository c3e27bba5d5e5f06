"""Results of the commands: one table each, on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from pathlib import Path

    from recsys_dist.dataset.manifest import Manifest
    from recsys_dist.evaluation.report import Calibration, Errors, EvaluationReport
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
        table.add_row(f"ratings to {split}", f"{count:,}")
    rating = manifest.rating
    table.add_row("rating", f"{rating.min:g} to {rating.max:g}, mean {rating.mean:.4f}")
    table.add_row("shards", f"{len(manifest.user_shards)} of users, {len(manifest.item_shards)} of items")
    table.add_row("seconds", f"{seconds:.1f}")
    table.add_row("output", output)
    console = new_console()
    console.print(table)
    for remark in remarks:
        console.print(f"Note: {remark}", soft_wrap=True)


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


def print_report(report: EvaluationReport) -> None:
    """Print the errors of the model and its baselines on the same ratings, then the ranking figures."""
    title = f"{report.model.kind} on the {report.split} ratings"
    table = Table(title=title, title_justify="left")
    for name in ("", "RMSE", "MAE", "ratings", "seconds"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, row in report.baselines.items():
        _add_errors(table, name.replace("_", " "), row, row.seconds)
    _add_errors(table, report.model.kind, report, report.seconds.predict)
    _add_errors(table, "  cold users", report.cold_users)
    _add_errors(table, "  cold items", report.cold_items)
    console = new_console()
    console.print(table)
    for line in _remarks(report):
        console.print(line, soft_wrap=True)


def _remarks(report: EvaluationReport) -> Iterator[str]:
    if report.allowed.train:
        yield "The model was trained on these ratings: the errors say nothing about other ratings."
    if report.allowed.other_split:
        yield "The dataset has another split than the one that the model was trained on."
    if report.trained_on.count:
        yield (
            f"Left out: {report.trained_on.count:,} ratings of pairs that the model was trained on "
            f"(RMSE on these: {_figure(report.trained_on.rmse)})"
        )
    if report.uncertainty is not None:
        yield _calibration(report.uncertainty)
    ranking = report.ranking
    if ranking is not None:
        yield (
            f"Top {ranking.top} of all unseen items for {ranking.users:,} of {ranking.eligible_users:,} users, "
            f"relevant from {ranking.relevant_from:g}: recall {_figure(ranking.recall)}, "
            f"nDCG {_figure(ranking.ndcg)} ({ranking.seconds:.1f} s)"
        )


def _calibration(uncertainty: Calibration) -> str:
    nominal = " / ".join(f"{100 * float(share):g}" for share in uncertainty.coverage)
    covered = " / ".join("-" if share is None else f"{100 * share:.1f}" for share in uncertainty.coverage.values())
    classes = "" if uncertainty.log_loss is None else f", log-loss {uncertainty.log_loss:.4f}"
    return f"Intervals of {nominal} % contain {covered} % of the ratings; NLL {_figure(uncertainty.nll)}{classes}"


def print_page(output: Path) -> None:
    """Print where the page is."""
    new_console().print(f"Wrote {output}: open it in a browser.", soft_wrap=True)


def pairs_table(title: str) -> Table:
    """A table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    return table


def _add_errors(table: Table, name: str, row: Errors, seconds: float | None = None) -> None:
    taken = "" if seconds is None else f"{seconds:.2f}"
    table.add_row(name, _figure(row.rmse), _figure(row.mae), f"{row.count:,}", taken)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
