"""Training beside busy cores: one process with torch's default threads against two ranks of one thread each.

    python -m benchmarks.busy DATASET --loaded 4

Times the whole command, the two in turns, and prints the seconds of each and the ratio of their medians. Exit code
1 where it is above 1.5.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.commands import BIN, ROOT, run
from benchmarks.exits import loaded

LARGEST_RATIO = 1.5


def seconds(dataset: str, ranks: int, epochs: int) -> float:
    """Train mf by its shipped configuration."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"dataset={dataset}", f"run_dir={folder}/run", f"training.epochs={epochs}"]
        program: list[str | Path] = [BIN / "recsys-dist", "train"]
        if ranks > 1:
            program = [BIN / "torchrun", "--standalone", f"--nproc_per_node={ranks}", ROOT / "launch/train.py"]
        return run(*program, "--config", "configs/mf.yaml", *settings, threads=1 if ranks > 1 else None).seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--loaded", type=int, default=4, help="processes that keep the cores busy")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    taken: dict[int, list[float]] = {1: [], 2: []}
    with loaded(options.loaded):
        for _ in range(options.runs):
            for ranks, all_seconds in taken.items():
                all_seconds.append(seconds(options.dataset, ranks, options.epochs))
    one, two = (statistics.median(taken[ranks]) for ranks in (1, 2))
    for name, ranks in (("one process", 1), ("two ranks", 2)):
        print(f"{name}: " + ", ".join(f"{each:.1f} s" for each in taken[ranks]))
    print(f"one process takes {one / two:.2f} times as long as two ranks, beside {options.loaded} busy processes")
    sys.exit(one / two > LARGEST_RATIO)


if __name__ == "__main__":
    main()
