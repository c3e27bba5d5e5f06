"""The same model on any number of ranks, and after an interruption, by the commands that a user types.

    python -m benchmarks.sameness ranks   WORK_DIR    test RMSE on 1, 2 and 4 ranks
    python -m benchmarks.sameness resume  WORK_DIR    interrupted and resumed against unbroken, by hash

MovieLens 1M is read from ../shared beside the checkout; `--data` names another folder with ml-1m/ in it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.commands import BIN, ROOT, evaluate, ml1m, resume, run, told, train, training_command


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
        "ranks": figures_ranks,
        "resume": figures_resume,
    }
    parser.add_argument("what", choices=figures)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--autorec-epochs", type=int, default=10)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    figures[arguments.what](arguments.work.resolve(), arguments)


if __name__ == "__main__":
    main()
