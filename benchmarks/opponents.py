"""The other programs with their settings, and one training of one of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import run
from benchmarks.environments import UnavailableError, last_error
from benchmarks.exported import Score

THREADS = 2


@dataclass(frozen=True, eq=False)
class Opponent:
    """One program with its settings."""

    label: str
    program: str
    settings: dict[str, Any]
    environment: str


def libmf(label: str, environment: str, iterations: int, regularization: float, rate: float) -> Opponent:
    """The binding's own defaults put an L1 penalty on the factors, which squared errors are better without."""
    penalties = {"lambda_p1": 0, "lambda_q1": 0, "lambda_p2": regularization, "lambda_q2": regularization}
    return Opponent(label, "libmf", {"k": 16, "nr_iters": iterations, "eta": rate, **penalties}, environment)


def opponents(data: str) -> list[Opponent]:
    """The opponents, with the best of a handful of settings for each data set.

    Tried on the large file: LIBMF lambda .03 to .07, rate .05 to .2; cmfrec lambda 5 to 35 (.787 to .798) and one
    scaled by the number of ratings; Spark .05 and .1 (.767, .776).
    """
    is_large = data == "27m"
    long, short = ((0.035, 0.07), (0.035, 0.1)) if is_large else ((0.05, 0.1), (0.05, 0.1))
    ridge = {"scale_lam": True, "lambda_": 0.05} if is_large else {"lambda_": 10.0}
    als = {"k": 16, "niter": 10, "user_bias": True, "item_bias": True, "finalize_chol": False, **ridge}
    return [
        libmf("LIBMF, AVX and OpenMP", "libmf-fast", 40, *long),
        libmf("LIBMF, AVX and OpenMP", "libmf-fast", 20, *short),
        libmf("LIBMF, as pip builds it", "libmf", 40, *long),
        Opponent("Surprise SVD", "surprise", {"n_factors": 16, "n_epochs": 20}, "surprise"),
        Opponent("Surprise SVD, defaults", "surprise", {"n_factors": 100, "n_epochs": 20}, "surprise"),
        Opponent("cmfrec ALS", "cmfrec", als, "cmfrec"),
        Opponent("Spark ALS", "spark", {"rank": 16, "maxIter": 10, "regParam": 0.05}, "spark"),
    ]


@dataclass
class Training:
    """One training of an opponent: what it took, and the test RMSE. `peak_bytes` adds up all its processes."""

    train_seconds: float
    load_seconds: float
    whole_seconds: float
    peak_bytes: int
    rmse: float


def measure(one: Opponent, python: Path, exported: Path, output: Path, score: Score) -> Training:
    """Train an opponent once in a process of its own."""
    shutil.rmtree(output, ignore_errors=True)
    script, settings = Path(__file__).with_name("opponent_run.py"), json.dumps(one.settings)
    try:
        finished = run(python, script, one.program, exported, output, settings, threads=THREADS)
    except SystemExit as failure:
        raise UnavailableError(f"it failed: {last_error(str(failure))}") from None
    outcome = json.loads((output / "outcome.json").read_text())
    rmse = score(np.load(output / "predictions.npy"))
    return Training(**outcome, whole_seconds=finished.seconds, peak_bytes=sum(finished.peak_bytes), rmse=rmse)
