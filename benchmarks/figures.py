"""Measure figures of the benchmarks page, by the commands that a user types. Not a test: it asserts nothing.

    python -m benchmarks.figures ml1m    WORK_DIR    accuracy of both models, seconds an epoch
    python -m benchmarks.figures large   WORK_DIR    27 million ratings: prepare, EM on 1 and 2 ranks, memory
    python -m benchmarks.figures ranks   WORK_DIR    test RMSE on 1, 2 and 4 ranks
    python -m benchmarks.figures resume  WORK_DIR    interrupted and resumed against unbroken, by hash

The rating files are read from ../shared beside the checkout; `--data` names another folder with ml-1m/ in it, and
`--generator` another make_ratings.py. Timings are wall-clock: run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

import recsys_dist
from recsys_dist.dataset.dataset import Dataset

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


def figures_ml1m(work: Path, arguments: argparse.Namespace) -> None:
    dataset = ml1m(work, arguments.data)
    for name, config, ranks in [
        ("mf-1", "mf", 1),
        ("mf-2", "mf", 2),
        ("autorec-1", "autorec_item", 1),
        ("autorec-2", "autorec_item", 2),
    ]:
        finished = train(config, dataset, work / name, ranks)
        told(work / name, finished, evaluate(dataset, work / name))
    print(
        f"  90 % intervals of mf cover {coverage(dataset, work / 'mf-1' / 'model', 0.9):.4f} of the test ratings"
    )


def coverage(dataset_path: Path, model_path: Path, wanted: float) -> float:
    """The share of test ratings within the interval that the model expects to hold a share `wanted` of them."""
    dataset, model = Dataset.open(str(dataset_path)), recsys_dist.load_model(str(model_path))
    users, items = (np.array(dataset.ids(side).to_pylist()) for side in ("users", "items"))
    within, count = 0, 0
    for shard in range(len(dataset.shards("users"))):
        test = dataset.ratings("test", shard)
        low, high = model.predict_interval(users[test.user_index], items[test.item_index], wanted)
        within += int(((test.rating >= low) & (test.rating <= high)).sum())
        count += len(test)
    return within / count


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


def figures_large(work: Path, arguments: argparse.Namespace) -> None:
    dataset = synthetic(work, arguments.generator)
    for name, ranks in [("mf27m-2", 2), ("mf27m-1", 1)]:
        finished = train("mf", dataset, work / name, ranks, *PLAIN, "training.epochs=8", "checkpoint.every=4")
        told(work / name, finished, evaluate(dataset, work / name, "--ranking-users", "0"))


def figures_ranks(work: Path, arguments: argparse.Namespace) -> None:
    dataset = ml1m(work, arguments.data)
    for config, epochs in [("mf", 10), ("autorec_item", arguments.autorec_epochs)]:
        for ranks in (1, 2, 4):
            run_dir = work / f"ranks-{config}-{ranks}"
            finished = train(config, dataset, run_dir, ranks, f"training.epochs={epochs}")
            told(run_dir, finished, evaluate(dataset, run_dir, "--ranking-users", "0"))


def figures_resume(work: Path, arguments: argparse.Namespace) -> None:
    """An unbroken run, and one ended by SIGTERM mid-way and started again: digests of the merged models."""
    dataset = ml1m(work, arguments.data)
    for config, epochs in [("mf", 10), ("autorec_item", 6)]:
        unbroken, broken = work / f"unbroken-{config}", work / f"broken-{config}"
        settings = [f"training.epochs={epochs}", "checkpoint.every=100"]
        train(config, dataset, unbroken, 2, *settings)
        interrupted = interrupt(config, dataset, broken, *settings)
        resume(config, dataset, broken, 2, *settings)
        digests = [digest(run_dir) for run_dir in (unbroken, broken)]
        verdict = "equal" if digests[0] == digests[1] else "DIFFERENT"
        print(
            f"  {config}: interrupted {interrupted}; merged models {verdict}: {digests[0][:16]} {digests[1][:16]}"
        )


def interrupt(config: str, dataset: Path, run_dir: Path, *overrides: str) -> str:
    """Train until the third epoch is logged, end torchrun by SIGTERM, and say where that was."""
    shutil.rmtree(run_dir, ignore_errors=True)
    command = [str(part) for part in training_command(config, dataset, run_dir, 2, *overrides)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = run_dir / "metrics.jsonl"
    while process.poll() is None and (not metrics.exists() or len(metrics.read_text().splitlines()) < 3):
        time.sleep(0.02)
    process.terminate()
    process.wait()
    return " ".join((run_dir / "status.json").read_text().split())


def digest(run_dir: Path) -> str:
    """The digest that merge prints: the same for the same parameters."""
    merged = run(BIN / "recsys-dist", "merge", run_dir, "--output", run_dir / "model")
    found = re.search(r"[0-9a-f]{64}", merged.output)
    assert found, merged.output
    return found.group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures = {
        "ml1m": figures_ml1m,
        "large": figures_large,
        "ranks": figures_ranks,
        "resume": figures_resume,
    }
    parser.add_argument("what", choices=figures)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--generator", type=Path, default=ROOT.parent / "shared" / "tools" / "make_ratings.py")
    parser.add_argument("--autorec-epochs", type=int, default=10)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    figures[arguments.what](arguments.work.resolve(), arguments)


if __name__ == "__main__":
    main()
