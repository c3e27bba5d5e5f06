"""Catalogues where most items have few ratings: seconds of a training, memory, test RMSE. It asserts nothing.

    python -m benchmarks.long_tail WORK_DIR [KEY=VALUE ...]

.9 million ratings of 22,000 users and 300,000 items or fewer, on two ranks: mf and item-AutoRec, the shipped
configurations. 25,000 ratings of 2,341 users and 2,956 items, in one process: mf. Settings that follow go to mf.

Ratings are made by make_ratings.py, which `--generator` names.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.figures import ROOT, Finished, epoch_seconds, evaluate, folder_megabytes, prepare, run, told, train

LONG_TAIL = ("--users", "22000", "--items", "300000", "--ratings", "900000", "--least", "1", "--tail", "0.8")
FEW = ("--users", "2341", "--items", "2956", "--ratings", "23000", "--least", "1", "--tail", "0.8")


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


def trained(config: str, dataset: Path, run_dir: Path, ranks: int, overrides: list[str]) -> Finished:
    """Train, merge and evaluate; print figures."""
    finished = train(config, dataset, run_dir, ranks, *overrides)
    told(run_dir, finished, evaluate(dataset, run_dir, "--ranking-users", "0"))
    epochs, size = sum(epoch_seconds(run_dir)), folder_megabytes(run_dir / "model")
    print(f"  epochs {epochs:.1f} s of {finished.seconds:.1f} s; the model has {size:,.0f} MB", flush=True)
    return finished


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    generator = ROOT.parent / "shared" / "tools" / "make_ratings.py"
    parser.add_argument("--generator", type=Path, default=generator, metavar="FILE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of mf")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    # Early stopping as in the shipped configuration; the other benchmarks turn it off.
    mf = ["training.patience=5", *arguments.overrides]
    few = made(work, "few", arguments.generator, FEW)
    trained("mf", few, work / "few-mf", 1, mf)
    long_tail = made(work, "long-tail", arguments.generator, LONG_TAIL)
    trained("mf", long_tail, work / "long-tail-mf", 2, mf)
    trained("autorec_item", long_tail, work / "long-tail-autorec", 2, [])


if __name__ == "__main__":
    main()
