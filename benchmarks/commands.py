"""The commands that a user types, run and watched, for all benchmarks. Timings are wall-clock.

They write the command, run it from this checkout, and give back its seconds, its memory and what it printed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PLAIN = ["model.factors=16", "model.constrained=none", "model.noise=shared"]
"""Settings of the plain matrix factorization, for figures of speed."""


@dataclass
class Finished:
    """One command that has ended: wall-clock seconds, and the peak resident memory of each of its processes."""

    seconds: float
    peak_bytes: list[int]
    output: str


def run(*command: str | Path, threads: int | None = None) -> Finished:
    """Run a command to its end, watching the memory of it and all its children."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    print("$", " ".join(str(part).replace(str(ROOT) + "/", "") for part in command), flush=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peaks: dict[int, int] = {}
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}:\n{output[-4000:]}")
    return Finished(time.perf_counter() - start, sorted(peaks.values(), reverse=True), output)


def _watch(process: subprocess.Popen[str], peaks: dict[int, int]) -> None:
    """Note the resident memory of a process and its children, ten times a second."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            for one in [root, *root.children(recursive=True)]:
                peaks[one.pid] = max(peaks.get(one.pid, 0), one.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)


def prepare(config: str, output: Path, *overrides: str) -> Finished:
    """Prepare a dataset anew."""
    shutil.rmtree(output, ignore_errors=True)
    return run(
        BIN / "recsys-dist", "prepare", "--config", f"configs/{config}.yaml", f"output={output}", *overrides
    )


def train(config: str, dataset: Path, run_dir: Path, ranks: int, *overrides: str) -> Finished:
    """Train anew on one process with all cores, or under torchrun with one thread a rank."""
    shutil.rmtree(run_dir, ignore_errors=True)
    return resume(config, dataset, run_dir, ranks, *overrides)


def resume(config: str, dataset: Path, run_dir: Path, ranks: int, *overrides: str) -> Finished:
    """The same without clearing the run folder first."""
    command = training_command(config, dataset, run_dir, ranks, *overrides)
    return run(*command, threads=None if ranks == 1 else 1)


def training_command(config: str, dataset: Path, run_dir: Path, ranks: int, *overrides: str) -> list[str | Path]:
    """What starts a training run."""
    launcher: list[str | Path] = [BIN / "torchrun", "--standalone", f"--nproc_per_node={ranks}", "launch/train.py"]
    start = [BIN / "recsys-dist", "train"] if ranks == 1 else launcher
    paths = [f"dataset={dataset}", f"run_dir={run_dir}"]
    return [*start, "--config", f"configs/{config}.yaml", *paths, "training.patience=null", *overrides]


def evaluate(dataset: Path, run_dir: Path, *options: str) -> dict:
    """Merge the newest checkpoint and measure it on the test split."""
    model, report = run_dir / "model", run_dir / "report.json"
    run(BIN / "recsys-dist", "merge", run_dir, "--output", model)
    run(BIN / "recsys-dist", "evaluate", model, "--dataset", dataset, "--output", report, *options)
    return json.loads(report.read_text())


def folder_megabytes(folder: Path) -> float:
    """Size of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*")) / 1e6


def epoch_seconds(run_dir: Path) -> list[float]:
    """Seconds of each epoch, without its validation and its checkpoint."""
    return [json.loads(line)["seconds"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def told(run_dir: Path, finished: Finished, report: dict) -> None:
    """Print one line of figures for a training run."""
    seconds = epoch_seconds(run_dir)
    ranks_mb = ", ".join(f"{peak / 1e6:,.0f}" for peak in finished.peak_bytes[:4])
    print(
        f"  {run_dir.name}: test RMSE {report['rmse']:.7f} MAE {report['mae']:.5f}; {len(seconds)} epochs, "
        f"seconds an epoch: median {statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f}); "
        f"whole command {finished.seconds:.1f} s; largest processes {ranks_mb} MB",
        flush=True,
    )


def ml1m(work: Path, data: Path) -> Path:
    """Prepare MovieLens 1M, random 90/10, no validation split."""
    dataset = work / "ml1m"
    paths = [f"input.paths={data}/ml-1m/ratings.dat.gz", f"items.paths={data}/ml-1m/movies.dat"]
    finished = prepare("prepare_ml1m", dataset, *paths, "split.valid=0")
    print(f"  prepare: {finished.seconds:.1f} s")
    return dataset


def synthetic(work: Path, generator: Path) -> Path:
    """Make and prepare 27 million synthetic ratings, random 90/10, no validation split."""
    ratings, dataset = work / "ratings27m.csv", work / "ds27m"
    if not ratings.exists():
        sizes = ["--users", "270000", "--items", "45000", "--ratings", "27000000", "--seed", "0"]
        run(sys.executable, generator, *sizes, "--out", ratings)
    columns = "input.columns={user: userId, item: movieId, rating: rating, timestamp: timestamp}"
    csv = [
        f"input.paths={ratings}",
        "input.separator=,",
        "input.quote='\"'",
        "input.header=true",
        columns,
        "items=null",
    ]
    two_workers = ["cluster.workers=2", "cluster.memory_limit=4GiB"]
    finished = prepare(
        "prepare_ml1m", dataset, *csv, "split.valid=0", "ratings.min=0.5", "ratings.max=5", *two_workers
    )
    peaks = ", ".join(f"{peak / 1e6:,.0f}" for peak in finished.peak_bytes[:3])
    print(f"  prepare: {finished.seconds:.1f} s; largest processes {peaks} MB", flush=True)
    return dataset
