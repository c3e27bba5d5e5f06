"""Models that rank on large data: seconds of an epoch or of a training, and memory. It asserts nothing.

    python -m benchmarks.ranking_scale ials   WORK_DIR
    python -m benchmarks.ranking_scale exact  WORK_DIR
    python -m benchmarks.ranking_scale sparse WORK_DIR

ials: 27 million ratings, an epoch with K=64 on two ranks, in turns with implicit's ALS on the same interactions
and two threads. exact: the same ratings, EASE of 45,000 items on two ranks. sparse: .9 million ratings, 300,000
items or fewer, EASE on two ranks by neighbourhoods. EASE is the shipped configuration, unless settings follow.

Ratings are made by make_ratings.py, which `--generator` names.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks.environments import set_up, version_of
from benchmarks.exported import export
from benchmarks.figures import BIN, ROOT, Finished, epoch_seconds, folder_megabytes, prepare, run, synthetic, train

FACTORS, EPOCHS, TURNS = 64, 4, 3
IMPLICIT = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy import sparse

arrays, factors, epochs = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
pairs = arrays["train_user_index"], arrays["train_item_index"]
ones = np.ones(len(pairs[0]), np.float32)
seconds = []
model = AlternatingLeastSquares(factors=factors, iterations=epochs, num_threads=2, random_state=0, use_gpu=False)
matrix = sparse.csr_matrix((ones, pairs), shape=tuple(arrays["shape"]))
model.fit(matrix, show_progress=False, callback=lambda _epoch, elapsed, *_loss: seconds.append(elapsed))
print(" ".join(map(str, seconds)))
"""


def figures_ials(work: Path, generator: Path, overrides: list[str]) -> None:
    dataset = made(work, generator)
    ratings = export(dataset, work / "export27m") / "ratings.npz"
    python = set_up("implicit", work)
    own, other = list[float](), list[float]()
    settings = [
        f"model.factors={FACTORS}",
        "model.target=all",
        "model.regularization=0.01",
        "model.unobserved_weight=0.1",
        "model.tolerance=0",
        f"training.epochs={EPOCHS}",
        f"checkpoint.every={EPOCHS}",
        *overrides,
    ]
    for _ in range(TURNS):
        finished = train("ials", dataset, work / "ials27m", 2, *settings)
        own += epoch_seconds(work / "ials27m")
        told("ials", finished, own)
        finished = run(python, "-c", IMPLICIT, ratings, str(FACTORS), str(EPOCHS), threads=2)
        other += map(float, finished.output.split())
        told(f"implicit {version_of('implicit')}", finished, other)
    print(f"  ials takes {statistics.median(own) / statistics.median(other):.2f} times as long as implicit's ALS")


def figures_exact(work: Path, generator: Path, overrides: list[str]) -> None:
    ease(made(work, generator), work / "ease27m", overrides)


def figures_sparse(work: Path, generator: Path, overrides: list[str]) -> None:
    ratings, dataset = work / "long_tail.csv", work / "long_tail"
    if not ratings.exists():
        sizes = ["--users", "22000", "--items", "300000", "--ratings", "900000", "--least", "1", "--tail", "0.8"]
        run(sys.executable, generator, *sizes, "--out", ratings)
    columns = "input.columns={user: userId, item: movieId, rating: rating, timestamp: timestamp}"
    prepare("prepare_csv", dataset, f"input.paths={ratings}", columns)
    ease(dataset, work / "ease_long_tail", overrides)


def ease(dataset: Path, run_dir: Path, overrides: list[str]) -> None:
    """Train, merge and evaluate on two ranks."""
    finished = train("ease", dataset, run_dir, 2, *overrides)
    told("ease", finished, epoch_seconds(run_dir))
    print("\n".join(line for line in finished.output.splitlines() if "ndcg" in line.lower()))
    model = run_dir / "model"
    merged = run(BIN / "recsys-dist", "merge", run_dir, "--output", model)
    print(
        f"  merge: {merged.seconds:.1f} s, largest process {merged.peak_bytes[0] / 1e6:,.0f} MB; "
        f"the model has {folder_megabytes(model):,.0f} MB"
    )
    judged = run(BIN / "recsys-dist", "evaluate", model, "--dataset", dataset, "--ranking-users", "2000")
    print(judged.output)


def made(work: Path, generator: Path) -> Path:
    """The 27 million ratings, prepared once."""
    dataset = work / "ds27m"
    return dataset if (dataset / "manifest.json").exists() else synthetic(work, generator)


def told(name: str, finished: Finished, seconds: list[float]) -> None:
    """Print one line of figures."""
    peaks = ", ".join(f"{peak / 1e6:,.0f}" for peak in finished.peak_bytes[:3])
    print(
        f"  {name}: seconds of an epoch: median {statistics.median(seconds):.2f} ({min(seconds):.2f} to "
        f"{max(seconds):.2f}); whole command {finished.seconds:.1f} s; largest processes {peaks} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures = {"ials": figures_ials, "exact": figures_exact, "sparse": figures_sparse}
    parser.add_argument("what", choices=figures)
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    generator = ROOT.parent / "shared" / "tools" / "make_ratings.py"
    parser.add_argument("--generator", type=Path, default=generator, metavar="FILE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the training")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    figures[arguments.what](work, arguments.generator, arguments.overrides)


if __name__ == "__main__":
    main()
