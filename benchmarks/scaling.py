"""Cost of matrix factorization as ratings grow, and what a second rank brings. It asserts nothing.

    python -m benchmarks.scaling WORK_DIR [--ratings 1,3,10,30,100] [--ranks 2] [--runs 3] [--efficiency]

Ratings are synthetic, in millions, about 100 by each user. Only users grow: the items are the same at every size,
so that their popularity and what a user rates keep their distributions. Were the items to grow in proportion, the
smallest set would have so few that its heavy users could not rate as many as those of the largest. The price: what
the items themselves cost, to solve and to send, is the same at every size, so that it weighs most on the smallest.
The last column therefore tells what each further rating costs, from the size before to this one.
`--ratings-per-item` lets items grow in proportion to compare; of few items more ratings are drawn, until users
have as many different ones on average.

Each size is trained by the plain model (K=16) on `--ranks` of one thread each for 4 epochs, `--runs` times. On
one rank the seconds hold nothing but the arithmetic, on more also what ranks tell each other. An epoch's seconds
are the median of the epochs after the first, which has the reading and the warm-up in it; of the runs the table
gives median and range. `--efficiency` sets one rank of one thread beside two of one thread each, in turns, on
the largest size of at most 27 million: efficiency = seconds of one / (2 x seconds of two). What cores that share
caches, memory and clock cost each other no program wins back. Two trainings of one rank each are therefore
timed side by side as well, which tell each other nothing: seconds of one alone / seconds of one beside another.

The table goes to the screen and, with the seconds of every epoch, to WORK_DIR/scaling.json. A CSV of 100 million
rows takes about 2.7 GB and is deleted once it is prepared; the datasets stay for another call. Run it on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.commands import BIN, PLAIN, ROOT, epoch_seconds, prepare, run
from recsys_dist.dataset.dataset import Dataset

RATINGS_PER_USER = 100
ITEMS = 45_000
EPOCHS = 4
MOST_DRAWS, CLOSE = 8, 0.05
LARGEST_FOR_EFFICIENCY = 27.0
NANOSECONDS, MEGABYTE = 1e9, 1e6


@dataclass
class Timed:
    """Trainings on one dataset by so many ranks of one thread: the seconds of every epoch of every run."""

    ranks: int
    num_ratings: int
    """Train ratings."""
    num_users: int
    num_items: int
    epoch_seconds: list[list[float]] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    """The largest rank of each run."""

    @classmethod
    def on(cls, dataset: Path, ranks: int) -> Timed:
        """Nothing timed yet."""
        opened = Dataset.open(str(dataset))
        return cls(ranks, opened.manifest.num_ratings["train"], opened.num_users, opened.num_items)

    @property
    def by_run(self) -> list[float]:
        """Seconds of an epoch in each run: the median without the first."""
        return [statistics.median(seconds[1:]) for seconds in self.epoch_seconds]

    @property
    def seconds(self) -> float:
        """Seconds of an epoch: the median of the runs."""
        return statistics.median(self.by_run)

    def train(self, dataset: Path, run_dir: Path) -> None:
        """Train once more."""
        shutil.rmtree(run_dir, ignore_errors=True)
        launcher = [str(BIN / "torchrun"), "--standalone", f"--nproc_per_node={self.ranks}", "launch/train.py"]
        # No end before the last epoch, and nothing saved between the epochs that are timed.
        length = ["model.tolerance=0", f"training.epochs={EPOCHS}", f"checkpoint.every={EPOCHS}"]
        paths = [f"dataset={dataset}", f"run_dir={run_dir}"]
        finished = run(*launcher, "--config", "configs/mf.yaml", *paths, *PLAIN, *length, threads=1)
        self.epoch_seconds.append(epoch_seconds(run_dir))
        self.peak_mb.append(finished.peak_bytes[0] / MEGABYTE)
        shutil.rmtree(run_dir)


def prepared(work: Path, size: float, items: int, generator: Path) -> Path:
    """A dataset of about so many million ratings, 90 % of them to train on; kept from an earlier call."""
    dataset, ratings = work / f"ds-{size:g}m-{items}", work / f"ratings-{size:g}m.csv"
    if (dataset / "manifest.json").exists():
        return dataset
    _draw(ratings, round(size * 1e6), items, generator)
    columns = "input.columns={user: userId, item: movieId, rating: rating, timestamp: timestamp}"
    csv = [f"input.paths={ratings}", "input.separator=,", "input.quote='\"'", "input.header=true", columns]
    rules = ["items=null", "ratings.min=0.5", "ratings.max=5", "split.valid=0"]
    prepare("prepare_ml1m", dataset, *csv, *rules, "cluster.workers=2", "cluster.memory_limit=4GiB")
    ratings.unlink()
    # So that nothing is left to write to the disk while epochs are timed.
    os.sync()
    return dataset


def _draw(ratings: Path, num_ratings: int, items: int, generator: Path) -> None:
    """Write about so many different ratings. Of few items, users draw more of the same ones."""
    shape = ["--users", f"{num_ratings // RATINGS_PER_USER}", "--items", f"{items}"]
    asked = num_ratings
    for _ in range(MOST_DRAWS):
        finished = run(sys.executable, generator, *shape, "--ratings", f"{asked}", "--seed", "0", "--out", ratings)
        rows = json.loads(finished.output.splitlines()[-1])["rows"]
        if abs(rows / num_ratings - 1) <= CLOSE:
            return
        asked = round(asked * num_ratings / rows)
    raise SystemExit(f"{MOST_DRAWS} draws gave {rows:,} ratings of {items:,} items, not {num_ratings:,}")


@dataclass
class Outcome:
    """What was measured so far, written to a file after each part: the large sizes take long."""

    about: dict[str, Any]
    sizes: list[Timed] = field(default_factory=list)
    """From the smallest."""
    efficiency: list[Timed] = field(default_factory=list)
    """One rank, more, and one beside another training of one, on the same ratings."""

    def measure_size(self, dataset: Path, ranks: int, work: Path, runs: int) -> None:
        """Train on one more size so many times."""
        timed = Timed.on(dataset, ranks)
        for _ in range(runs):
            timed.train(dataset, work / "run-scaling")
        self.sizes.append(timed)
        self.write(work)

    def measure_efficiency(self, dataset: Path, work: Path, runs: int, counts: Sequence[int] = (1, 2)) -> None:
        """Train on one rank, on more, and twice side by side, in turns."""
        *together, beside = self.efficiency = [Timed.on(dataset, ranks) for ranks in (*counts, 1)]
        for _ in range(runs):
            for timed in together:
                timed.train(dataset, work / "run-efficiency")
            with ThreadPoolExecutor() as pool:
                list(pool.map(partial(beside.train, dataset), [work / "run-beside-1", work / "run-beside-2"]))
        self.write(work)

    def write(self, work: Path) -> None:
        """Keep the raw figures."""
        (work / "scaling.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3f} ({min(values):.3f}..{max(values):.3f})"


def show_sizes(sizes: list[Timed]) -> None:
    """Print the table of sizes."""
    print(f"\nmatrix factorization, {' '.join(PLAIN)}, ranks of one thread: {sizes[0].ranks}")
    print(
        "| train ratings | users | items | s an epoch | ns a rating | ns each further rating | largest rank MB |"
    )
    print("|---|---|---|---|---|---|---|")
    before: Timed | None = None
    for timed in sizes:
        cost, further = NANOSECONDS * timed.seconds / timed.num_ratings, ""
        if before is not None:
            gained = timed.num_ratings - before.num_ratings
            further = f"{NANOSECONDS * (timed.seconds - before.seconds) / gained:.1f}"
        counts = f"{timed.num_ratings:,} | {timed.num_users:,} | {timed.num_items:,}"
        print(f"| {counts} | {spread(timed.by_run)} | {cost:.1f} | {further} | {max(timed.peak_mb):,.0f} |")
        before = timed


def show_efficiency(one: Timed, two: Timed, beside: Timed) -> None:
    """Print the table of ranks."""
    print(
        f"\nmatrix factorization, {' '.join(PLAIN)}, {one.num_ratings:,} train ratings, ranks of one thread each"
    )
    print("| ranks | s an epoch | efficiency |")
    print("|---|---|---|")
    print(f"| 1 | {spread(one.by_run)} | |")
    print(f"| 2 | {spread(two.by_run)} | {100 * one.seconds / (2 * two.seconds):.1f} % |")
    print(f"| 1 beside another 1 | {spread(beside.by_run)} | {100 * one.seconds / beside.seconds:.1f} % |")


def millions(text: str) -> list[float]:
    """The sizes that an option names, from the smallest."""
    found = sorted({float(size) for size in text.split(",")})
    if found[0] <= 0:
        raise ValueError(f"{text!r} are not sizes above 0")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    parser.add_argument("--ratings", type=millions, default="1,3,10,30,100", help="in millions (%(default)s)")
    parser.add_argument("--ranks", type=int, default=2, help="of one thread each (%(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--efficiency", action="store_true", help="measure one rank against two as well")
    items = parser.add_mutually_exclusive_group()
    items.add_argument("--items", type=int, default=ITEMS, help="of every size (%(default)s)")
    items.add_argument("--ratings-per-item", type=int, help="items in proportion to the ratings instead")
    parser.add_argument("--generator", type=Path, default=ROOT.parent / "shared" / "tools" / "make_ratings.py")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.ranks < 1:
        parser.error(f"--runs and --ranks take 1 or more; not {arguments.runs} and {arguments.ranks}")
    if arguments.efficiency and arguments.ratings[0] > LARGEST_FOR_EFFICIENCY:
        parser.error(f"--efficiency needs a size of at most {LARGEST_FOR_EFFICIENCY:g} in --ratings")
    arguments.work.mkdir(parents=True, exist_ok=True)
    measure(arguments.work.resolve(), arguments)


def measure(work: Path, arguments: argparse.Namespace) -> None:
    """Prepare and train size by size, and tell."""
    per_item, runs = arguments.ratings_per_item, arguments.runs
    machine = f"{platform.machine()} with {os.cpu_count()} cores"
    outcome = Outcome({"machine": machine, "settings": PLAIN, "epochs": EPOCHS})
    datasets: dict[float, Path] = {}
    for size in arguments.ratings:
        items = round(size * 1e6 / per_item) if per_item else arguments.items
        datasets[size] = prepared(work, size, items, arguments.generator.resolve())
        outcome.measure_size(datasets[size], arguments.ranks, work, runs)
    if arguments.efficiency:
        largest = max(size for size in datasets if size <= LARGEST_FOR_EFFICIENCY)
        outcome.measure_efficiency(datasets[largest], work, runs)
    print(f"\n{machine}; seconds are the median of {runs} runs (range)")
    show_sizes(outcome.sizes)
    if outcome.efficiency:
        show_efficiency(*outcome.efficiency)


if __name__ == "__main__":
    main()
