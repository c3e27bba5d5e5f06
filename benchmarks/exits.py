"""How processes end: every command and the Python example, run many times beside loaded cores.

    python -m benchmarks.exits --runs 300

Prints for each program how often it ended with which exit code; exit code 1 where one was not as expected.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.folders import make_folders, prepare, train

PYTHON_EXAMPLE = """
import recsys_dist
model = recsys_dist.load_model("mf")
print(model.predict(["u1", "u2"], ["i1", "i2"]), model.recommend("u1", 3))
"""
MANY_MERGES = """
import shutil, tempfile
from recsys_dist.cli import main
for number in range(30):
    folder = tempfile.mkdtemp()
    model = folder + "/model"
    for command in (["merge", "run-mf", "--output", model], ["evaluate", model, "--dataset", "dataset"]):
        try:
            main(command)
        except SystemExit as end:
            assert end.code in {0, None}, end.code
    shutil.rmtree(folder)
"""

MISTAKE = 2


def programs() -> dict[str, list[str]]:
    """What is run, in a folder of `make_folders`; `{}` stands for the number of the run."""
    command = [str(Path(sys.executable).parent / "recsys-dist")]
    return {
        "Python example": [sys.executable, "-c", PYTHON_EXAMPLE],
        "30 merges and evaluations": [sys.executable, "-c", MANY_MERGES],
        "inspect FILE": [*command, "inspect", "ratings.csv"],
        "inspect DATASET": [*command, "inspect", "dataset", "--verify"],
        "merge": [*command, "merge", "run-mf", "--output", "merged-{}"],
        "evaluate": [*command, "evaluate", "mf", "--dataset", "dataset"],
        "evaluate, a mistake": [*command, "evaluate", "mf", "--dataset", "dataset", "--split", "train"],
        "recommend": [*command, "recommend", "autorec", "--user", "u1"],
        "recommend --all-users": [*command, "recommend", "mf", "--all-users", "--output", "lists-{}.parquet"],
        "similar": [*command, "similar", "mf", "--item", "i1"],
        "report": [*command, "report", "run-mf", "--output", "page-{}.html"],
        "train": [*command, *train("mf", "new-{}", 1)],
        "prepare": [*command, *prepare("input.paths=ratings.csv", "output=prepared-{}", "cluster.workers=1")],
    }


def exit_codes(program: list[str], folder: Path, runs: int, jobs: int) -> Counter[int]:
    """Run a program so many times, `jobs` at once, and count how it ended."""

    def run(number: int) -> int:
        arguments = [argument.replace("{}", str(number)) for argument in program]
        return subprocess.run(arguments, cwd=folder, capture_output=True, check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        return Counter(pool.map(run, range(runs)))


@contextmanager
def loaded(num_cores: int) -> Iterator[None]:
    """Keep so many cores busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num_cores)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--loaded", type=int, default=1, help="cores kept busy")
    parser.add_argument("--only", default="", help="programs whose names begin so")
    options = parser.parse_args()
    is_bad = False
    with tempfile.TemporaryDirectory() as temporary, loaded(options.loaded):
        folder = Path(temporary) / "made"
        folder.mkdir()
        make_folders(folder)
        for name, program in programs().items():
            if name.startswith(options.only):
                codes = exit_codes(program, folder, options.runs, options.jobs)
                is_bad |= codes.keys() != {MISTAKE if name.endswith("a mistake") else 0}
                told = ", ".join(f"{count} x {code}" for code, count in codes.most_common())
                print(f"{name}: {told}", flush=True)
    sys.exit(is_bad)


if __name__ == "__main__":
    main()
