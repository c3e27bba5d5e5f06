"""Print one table of the models trained by the demo: `demo_table.py RUN_DIR RUN_DIR ...`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recsys_dist.training.config import TrainConfig

LABELS = {"global_mean": "global mean", "user_item_bias": "user + item bias"}


def main(run_dirs: list[Path]) -> None:
    reports = [json.loads((run_dir / "report.json").read_text()) for run_dir in run_dirs]
    table = Table(title=f"On {reports[0]['count']:,} held-out ratings", title_justify="left")
    for column in ("", "RMSE", "MAE", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in reports[0]["baselines"].items():
        table.add_row(LABELS[name], f"{row['rmse']:.4f}", f"{row['mae']:.4f}", f"{row['seconds']:.1f}")
    for run_dir, report in zip(run_dirs, reports, strict=True):
        config = TrainConfig.model_validate(report["model"]["config"])
        label = config.family.title(config.model)
        table.add_row(label, f"{report['rmse']:.4f}", f"{report['mae']:.4f}", f"{training_seconds(run_dir):.1f}")
    Console().print(table)


def training_seconds(run_dir: Path) -> float:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return sum(float(json.loads(line)["seconds"]) for line in lines)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
