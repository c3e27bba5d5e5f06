"""Print two tables of the models made by the demo, of ratings and of lists: `demo_table.py runs/demo`."""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console
from rich.table import Table

LABELS = {"global_mean": "global mean", "user_item_bias": "user + item bias"}
BLENDS = {"ratings": "blend for ratings", "lists": "blend for lists"}


def main(folder: Path) -> None:
    reports = {
        PurePosixPath(report["model"]["url"]).name: report
        for report in json.loads((folder / "report.json").read_text())["reports"]
    }
    first = next(iter(reports.values()))
    console = Console()
    console.print(ratings_table(first, reports, folder))
    console.print(lists_table(first, reports))


def ratings_table(first: dict[str, Any], reports: dict[str, Any], folder: Path) -> Table:
    predicting = {name: report for name, report in reports.items() if report["predicts_ratings"]}
    table = table_of(f"Ratings: {first['count']:,} held out", "RMSE", "MAE", "seconds of training")
    for name, row in first["baselines"].items():
        table.add_row(LABELS[name], f"{row['rmse']:.4f}", f"{row['mae']:.4f}", f"{row['seconds']:.1f}")
    for name, report in predicting.items():
        figures = f"{report['rmse']:.4f}", f"{report['mae']:.4f}"
        table.add_row(BLENDS.get(name, name), *figures, training_seconds(folder / name))
    return table


def lists_table(first: dict[str, Any], reports: dict[str, Any]) -> Table:
    title = f"Lists of 10 unseen films for {first['ranking']['users']:,} users"
    table = table_of(title, "nDCG", "recall", "coverage")
    rows = {
        "most rated": first["ranking"]["baselines"]["popularity"],
        **{BLENDS.get(name, name): report["ranking"]["cuts"] for name, report in reports.items()},
    }
    for name, (cut,) in rows.items():
        table.add_row(name, f"{cut['ndcg']:.4f}", f"{cut['recall']:.4f}", f"{cut['coverage']:.4f}")
    return table


def table_of(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def training_seconds(run_dir: Path) -> str:
    """The sum over the epochs; blends are not trained."""
    if not run_dir.is_dir():
        return "-"
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return f"{sum(float(json.loads(line)['seconds']) for line in lines):.1f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
