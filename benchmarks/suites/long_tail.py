"""Catalogues where most items have few ratings: synthetic ratings, all families that are made for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.commands import prepare, run
from benchmarks.suites.suite import Measured, Options
from benchmarks.suites.trained import COLUMNS, LISTED_USERS, trained

LONG_TAIL = ("--users", "22000", "--items", "300000", "--ratings", "900000", "--least", "1", "--tail", "0.8")
FEW = ("--users", "2341", "--items", "2956", "--ratings", "23000", "--least", "1", "--tail", "0.8")
RANKS = 2
MODELS = {"mf": "mf", "item-AutoRec": "autorec_item", "ials": "ials", "ease": "ease"}
PATIENCE = "training.patience=5"
"""That of the configurations as shipped, which these sets, with validation ratings, stop by."""


def long_tail(options: Options) -> Measured:
    """Errors, lists, seconds and memory; of mf on few ratings too, in one process."""
    generator = options.require_generator()
    title = f".88 million synthetic train ratings of 22,000 users and 233,000 items, {RANKS} ranks of one thread"
    table = Measured(f"{title}; models as shipped, lists of ten for {LISTED_USERS:,} users", "model", COLUMNS)
    dataset = made(options.work, "long-tail", generator, LONG_TAIL)
    models = {
        label: trained(config, dataset, options.work / f"long-tail-{config}", RANKS, PATIENCE)
        for label, config in MODELS.items()
    }
    for label in ("mf", "ials"):
        models[label].baseline(table)
    for label, one in models.items():
        one.row(table, label)
    few = trained("mf", made(options.work, "few", generator, FEW), options.work / "few-mf", 1, PATIENCE)
    few.row(table, "mf on 23,000 ratings of 2,341 users and 2,956 items, one process")
    return table


def made(work: Path, name: str, generator: Path, sizes: tuple[str, ...]) -> Path:
    """Make and prepare ratings, once: random 85/5/10."""
    ratings, dataset = work / f"{name}.csv", work / name
    if (dataset / "manifest.json").exists():
        return dataset
    made_now = run(sys.executable, generator, *sizes, "--out", ratings)
    floor = json.loads(made_now.output.strip().splitlines()[-1])["noise_floor_rmse"]
    print(f"  {name}: the true model has an RMSE of {floor:.4f}", flush=True)
    columns = "input.columns={user: userId, item: movieId, rating: rating, timestamp: timestamp}"
    prepare("prepare_csv", dataset, f"input.paths={ratings}", columns, "split.valid=0.05", "split.test=0.1")
    return dataset
