"""Accuracy on MovieLens by a shipped configuration, with no setting given. It asserts nothing.

    python -m benchmarks.accuracy WORK_DIR [--config mf] [--runs 3] [--sets ml-1m,ml-100k] [--seeds 0,1]

    ml-1m      random 90/10, one split for each seed, which is the seed of the training too
    ml-100k    the fixed folds: trained on uN.base and tested on uN.test, the training with seed 0

Each split is prepared, trained on in one process with all cores, merged and evaluated by the commands that a user
types. The configuration decides everything else: with mf, which form the model takes and when training is over it
finds out from train ratings alone. The test split is read once, after the training. All its pairs are predicted,
cold ones too, and clipped to the rating range; the RMSE is over all pairs at once. A mean row is the mean over its
splits.

The first split of each set is trained so many times (`--runs`) for the seconds of the whole training command: each
time the same model. The others are trained once. The table goes to the screen, and with all raw figures to
WORK_DIR/accuracy.json. Seconds are wall-clock: run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import recsys_dist
from benchmarks.commands import ROOT, epoch_seconds, evaluate, prepare, train

FOLDS = ("u1", "u2", "u3", "u4", "u5")
CHOSEN = re.compile(r"^.*\b(?:keeping|nothing more to try:) (.+)$", re.MULTILINE)
"""What a training says once its search for the form of the model, or for its settings, is over."""
SEARCH = re.compile(r"^ {2}\S.*$", re.MULTILINE)
"""Every line of the search: what is tried, kept or taken back, and why."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """One way to part a data set into train and test ratings, and the seed of the training on it."""

    data: str
    name: str
    config: str
    overrides: tuple[str, ...]
    seed: int


def random_splits(data: Path, seeds: list[int]) -> list[Split]:
    """MovieLens 1M, a tenth of the ratings drawn for testing by each seed."""
    paths = (f"input.paths={data}/ml-1m/ratings.dat.gz", f"items.paths={data}/ml-1m/movies.dat")
    return [
        Split("ml-1m", f"seed {seed}", "prepare_ml1m", (*paths, "split.valid=0", f"split.seed={seed}"), seed)
        for seed in seeds
    ]


def fixed_folds(data: Path) -> list[Split]:
    """MovieLens 100K, the five folds that come with it."""
    folder = data / "ml-100k"
    return [
        Split(
            "ml-100k",
            fold,
            "prepare_ml100k_u1",
            (
                f"split.train={folder}/{fold}.base.gz",
                f"split.test={folder}/{fold}.test.gz",
                f"items.paths={folder}/u.item.gz",
            ),
            seed=0,
        )
        for fold in FOLDS
    ]


def measure(split: Split, config: str, work: Path, runs: int) -> Row:
    """Prepare one split, train on it `runs` times, and evaluate the last model."""
    name = f"{split.data}-{split.name.replace(' ', '')}"
    dataset, run_dir = work / name, work / f"run-{name}"
    prepare(split.config, dataset, *split.overrides)
    trainings = [train(config, dataset, run_dir, 1, f"seed={split.seed}") for _ in range(runs)]
    report = evaluate(dataset, run_dir, "--ranking-users", "0")
    output = trainings[-1].output
    chosen = CHOSEN.findall(output)
    return {
        "data": split.data,
        "split": split.name,
        "training_seed": split.seed,
        "train_seconds": [training.seconds for training in trainings],
        "peak_mb": [training.peak_bytes[0] / 1e6 for training in trainings],
        "epoch_seconds": epoch_seconds(run_dir),
        "form": chosen[-1] if chosen else "",
        "search": [line.strip() for line in SEARCH.findall(output)],
        "report": report,
    }


def share_covered(row: Row) -> float:
    """The share of the test ratings within their 90 % intervals."""
    return float(row["report"]["uncertainty"]["coverage"]["0.9"])


def told_coverage(rows: list[Row]) -> str:
    """Its mean over some splits; nothing for a model without intervals."""
    if not rows[0]["report"].get("uncertainty"):
        return ""
    return f"{100 * statistics.mean(map(share_covered, rows)):.1f} %"


def cold_pairs(report: Row) -> str:
    """How many test pairs have a user or an item without a train rating, and their error; none: nothing."""
    sides = [(side, report[f"cold_{side}"]) for side in ("users", "items")]
    return ", ".join(f"{cold['count']} of {side} ({cold['rmse']:.3f})" for side, cold in sides if cold["count"])


def line_of(row: Row) -> str:
    """One line of the table."""
    report, seconds = row["report"], row["train_seconds"]
    timed = f"{statistics.median(seconds):.1f}"
    if len(seconds) > 1:
        timed += f" ({min(seconds):.1f}..{max(seconds):.1f}, {len(seconds)} runs)"
    cells = [
        f"{row['data']} {row['split']}",
        f"{report['rmse']:.4f}",
        f"{report['count']:,}",
        cold_pairs(report),
        told_coverage([row]),
        f"{len(row['epoch_seconds'])}",
        timed,
        f"{max(row['peak_mb']):,.0f}",
        row["form"],
    ]
    return f"| {' | '.join(cells)} |"


def mean_line(data: str, rows: list[Row]) -> str:
    """The line below the splits of one data set: means, and the median of all seconds."""
    rmse = statistics.mean(row["report"]["rmse"] for row in rows)
    seconds = statistics.median(statistics.median(row["train_seconds"]) for row in rows)
    mean = f"| **{data}, mean of {len(rows)}** | **{rmse:.4f}** | | | {told_coverage(rows)} | | {seconds:.1f}"
    return f"{mean} | | |"


def show(rows: list[Row], header: list[str]) -> None:
    """Print what was done, and the table."""
    print("\n" + "\n".join(header) + "\n")
    columns = "test RMSE | test pairs | cold pairs (RMSE) | within 90 % | epochs | seconds | peak MB | chosen"
    print(f"| split | {columns} |")
    print("|---|---|---|---|---|---|---|---|---|")
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == data]
        print("\n".join([*map(line_of, own), mean_line(data, own)]))


def header_of(sets: dict[str, list[Split]], config: str, runs: int) -> list[str]:
    """What was measured, on what, and that nothing was tuned."""
    versions = f"recsys_dist {recsys_dist.__version__}, torch {torch.__version__}"
    machine = f"{platform.machine()} with {os.cpu_count()} cores"
    splits = {
        "ml-1m": "ml-1m: random 90/10, seeds of the split and of the training: ",
        "ml-100k": "ml-100k: trained on uN.base, tested on uN.test, seed of the training 0: ",
    }
    return [
        f"configs/{config}.yaml as shipped: no setting but the seed is given.",
        *(text + ", ".join(one.name for one in sets[data]) for data, text in splits.items() if data in sets),
        f"One process with all cores ({machine}; {versions}). Seconds are those of the whole training command:",
        f"the median of {runs} for the first split of each set, a single run for the others.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    parser.add_argument("--config", choices=("mf", "autorec_item", "autorec_user"), default="mf")
    parser.add_argument("--runs", type=int, default=3, help="trainings on the first split of a set (%(default)s)")
    parser.add_argument("--sets", default="ml-1m,ml-100k", help="one or both (%(default)s)")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="of the splits of ml-1m (%(default)s)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="has ml-1m/, ml-100k/")
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    makers: dict[str, Callable[[], list[Split]]] = {
        "ml-1m": lambda: random_splits(data, [int(seed) for seed in arguments.seeds.split(",")]),
        "ml-100k": lambda: fixed_folds(data),
    }
    names = arguments.sets.split(",")
    if not makers.keys() >= set(names):
        parser.error(f"--sets takes {', '.join(makers)}; not {arguments.sets}")
    if arguments.runs < 1:
        parser.error(f"--runs takes 1 or more; not {arguments.runs}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    sets = {name: makers[name]() for name in names}
    measure_all(sets, arguments.config, arguments.work.resolve(), arguments.runs)


def measure_all(sets: dict[str, list[Split]], config: str, work: Path, runs: int) -> None:
    """Measure split by split; what is there already is written after each one."""
    header, rows = header_of(sets, config, runs), []
    for splits in sets.values():
        for number, split in enumerate(splits):
            rows.append(measure(split, config, work, 1 if number else runs))
            outcome = {"about": header, "rows": rows}
            (work / "accuracy.json").write_text(json.dumps(outcome, indent=1) + "\n")
    show(rows, header)


if __name__ == "__main__":
    main()
