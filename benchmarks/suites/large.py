"""27 million synthetic ratings: every family on two ranks, and an epoch of ials beside implicit's ALS."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.commands import epoch_seconds, run, synthetic, train
from benchmarks.environments import UnavailableError, set_up, version_of
from benchmarks.exported import export
from benchmarks.suites.suite import Measured, Options, significant
from benchmarks.suites.trained import COLUMNS, LISTED_USERS, trained

RANKS, RUNS = 2, 3
MODELS = {"mf": "mf", "user-AutoRec": "autorec_user", "ials": "ials", "ease": "ease"}
"""item-AutoRec, whose rows have 270,000 columns, is left out: an epoch is a minute and more."""
FACTORS, EPOCHS = 64, 4
GIVEN = (
    f"model.factors={FACTORS}",
    "model.target=all",
    "model.regularization=0.01",
    "model.unobserved_weight=0.1",
    "model.tolerance=0",
    f"training.epochs={EPOCHS}",
    f"checkpoint.every={EPOCHS}",
)
"""What both programs are given: the time of an epoch depends on nothing else of it than the factors."""
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


def large(options: Options) -> Measured:
    """Errors, lists, seconds and memory of the models as shipped."""
    dataset = synthetic(options.work, options.require_generator())
    title = f"27.2 million synthetic ratings, 270,000 users x 45,000 items, {RANKS} ranks of one thread; models as"
    table = Measured(f"{title} shipped, lists of ten for {LISTED_USERS:,} users", "model", COLUMNS)
    models = {
        label: trained(config, dataset, options.work / f"large-{config}", RANKS)
        for label, config in MODELS.items()
    }
    for label in ("mf", "ials"):
        models[label].baseline(table)
    for label, one in models.items():
        one.row(table, label)
    _add_epochs(table, dataset, options.work, options.runs or RUNS)
    return table


def _add_epochs(table: Measured, dataset: Path, work: Path, runs: int) -> None:
    """Both programs in turns, on two threads in all."""
    try:
        python = set_up("implicit", work)
    except UnavailableError as reason:
        print(f"skipped implicit: {reason}", flush=True)
        return
    ratings = export(dataset, work / "export-27m") / "ratings.npz"
    own, other = list[float](), list[float]()
    for _ in range(runs):
        train("ials", dataset, work / "large-epochs", RANKS, *GIVEN)
        own += epoch_seconds(work / "large-epochs")
        other += map(
            float, run(python, "-c", IMPLICIT, ratings, str(FACTORS), str(EPOCHS), threads=2).output.split()
        )
    table.add(f"ials, given {FACTORS} factors and a penalty", "an epoch", significant(statistics.median(own)), "s")
    versions = f"implicit {version_of('implicit')}"
    label = f"implicit ALS, {FACTORS} factors, two threads"
    table.add(label, "an epoch", significant(statistics.median(other)), "s", versions)
