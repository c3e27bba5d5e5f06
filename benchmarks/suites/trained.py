"""Shipped configurations from training to figures, as rows of a table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import Finished, epoch_seconds, evaluate, train
from benchmarks.suites.suite import GIGABYTE, Measured, significant

COLUMNS = ("test RMSE", "nDCG", "seconds of training", "an epoch", "memory of a rank")
LISTED_USERS = 2000
"""Users whose lists of ten are judged, drawn by `evaluate`."""
LEAST_EPOCHS = 3
"""Of fewer there is no typical one."""


@dataclass(frozen=True)
class Trained:
    """A training that was merged and evaluated."""

    finished: Finished
    epochs: list[float]
    """Seconds of each."""
    report: dict[str, Any]

    def baseline(self, table: Measured) -> None:
        """Add what asks for no training: biases where the model predicts ratings, otherwise popularity."""
        if self.report["rmse"] is None:
            (popular,) = self.report["ranking"]["baselines"]["popularity"]
            table.add("most rated", "nDCG", f"{popular['ndcg']:.4f}", "share")
        else:
            biases = self.report["baselines"]["user_item_bias"]
            table.add("user + item bias", "test RMSE", f"{biases['rmse']:.4f}", "rating")

    def row(self, table: Measured, label: str) -> None:
        """Add the figures of the model."""
        rmse, (cut,) = self.report["rmse"], self.report["ranking"]["cuts"]
        if rmse is not None:
            table.add(label, "test RMSE", f"{rmse:.4f}", "rating")
        table.add(label, "nDCG", f"{cut['ndcg']:.4f}", "share")
        table.add(label, "seconds of training", significant(self.finished.seconds), "s")
        if len(self.epochs) >= LEAST_EPOCHS:
            table.add(label, "an epoch", significant(statistics.median(self.epochs[1:])), "s")
        table.add(label, "memory of a rank", significant(self.finished.peak_bytes[0] / GIGABYTE), "GB")


def trained(config: str, dataset: Path, run_dir: Path, ranks: int, *overrides: str) -> Trained:
    """Train, merge and evaluate."""
    finished = train(config, dataset, run_dir, ranks, *overrides)
    lists = ("--ranking-users", str(LISTED_USERS), "--top", "10")
    return Trained(finished, epoch_seconds(run_dir), evaluate(dataset, run_dir, *lists))
