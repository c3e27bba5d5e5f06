"""A billion ratings on one machine, from the files to lists for all users: seconds, memory and disk of each stage.

    python -m benchmarks.billion --folder /tmp/billion [--ratings 1e9] [--users 1e6] [--items 2e5]
                                 [--stages make,prepare,train,merge,evaluate,recommend] [--keep]

    make        Parquet files of a known model with noise (billion_ratings.py), whose RMSE on them is the floor
    prepare     recsys-dist prepare with two local workers; 1 % of the ratings are for the test
    train       plain matrix factorization, K=16, under torchrun with two ranks, which read their ratings anew from
                memory-mapped blocks on every pass
    merge       one model folder
    evaluate    RMSE on the test ratings; at most MARGIN above the floor, or the program ends with an error
    recommend   ten unseen items for every user

Without `--stages`, the stages that FOLDER/stages.json has no figures of; so the same command continues after an
interruption. A stage that is named is done anew. Memory is the peak of the sum over all processes of a stage,
mapped files included, pages that several share shared out (PSS). Disk is the peak of all files of the folder. Both
are sampled. The rating files are deleted once they are prepared, unless `--keep` is given.

Before it starts, the program tells what it needs, and refuses a disk or a memory with less. To scale down, lower
ratings and users alike and leave the items: with fewer items, those who rate much could not rate as much.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.billion_ratings import whole
from benchmarks.commands import BIN, PLAIN, ROOT
from benchmarks.costs import GIGABYTE, Costs, folder_bytes, measured

RATINGS, USERS, ITEMS = 1_000_000_000, 1_000_000, 200_000
RANKS, WORKERS, WORKER_MEMORY = 2, 2, "3GiB"
TEST_SHARE = 0.01
EPOCHS = 3
MARGIN = 0.035
"""Above the RMSE of the true model."""
RANK_MEMORY = "2700MiB"
"""`training.memory_limit`: enough for the tables of 208,000 items at once; a rank keeps no more than 44 million
ratings in it."""
MEMORY_GB, SECONDS = 8.0, 3600.0
"""The bars, of all processes together and of all stages together."""
DISK_BYTES_PER_RATING, INPUT_BYTES_PER_RATING = 27.0, 3.5
"""At the most during the stages; and of the rating files, if they are kept."""
DISK_BYTES_PER_ROW = 2500.0
"""Of a user or item: two checkpoints, the model and the lists."""


@dataclass(frozen=True)
class Plan:
    """Sizes and places."""

    folder: Path
    ratings: int
    users: int
    items: int
    epochs: int
    keep: bool
    """Whether the rating files stay once they are prepared."""

    def __str__(self) -> str:
        return f"{self.ratings:,} ratings of {self.users:,} users and {self.items:,} items"

    @property
    def source(self) -> Path:
        """The rating files."""
        return self.folder / "ratings"

    @property
    def dataset(self) -> Path:
        """The prepared dataset."""
        return self.folder / "dataset"

    @property
    def run_dir(self) -> Path:
        """The training run."""
        return self.folder / "run"

    @property
    def model(self) -> Path:
        """The merged model."""
        return self.folder / "model"

    @property
    def report(self) -> Path:
        """The figures of the model."""
        return self.folder / "report.json"

    @property
    def lists(self) -> Path:
        """Ten items for every user."""
        return self.folder / "lists.parquet"

    @property
    def needed_gb(self) -> float:
        """Disk that all stages need at once."""
        per_rating = DISK_BYTES_PER_RATING + INPUT_BYTES_PER_RATING * self.keep
        return (self.ratings * per_rating + (self.users + self.items) * DISK_BYTES_PER_ROW) / GIGABYTE

    def command(self, stage: str) -> list[str | Path]:
        """What a user types for a stage."""
        torchrun: list[str | Path]
        match stage:
            case "make":
                sizes = ["--ratings", str(self.ratings), "--users", str(self.users), "--items", str(self.items)]
                return [sys.executable, "-m", "benchmarks.billion_ratings", self.source, *sizes]
            case "prepare":
                columns = "input.columns={user: user, item: item, rating: rating, timestamp: null}"
                paths: list[str | Path] = [f"input.paths={self.source}", f"output={self.dataset}", columns]
                rules = ["ratings.min=0.5", "ratings.max=5", f"split.test={TEST_SHARE}", "split.valid=0"]
                cluster = [f"cluster.workers={WORKERS}", f"cluster.memory_limit={WORKER_MEMORY}"]
                return [BIN / "recsys-dist", "prepare", "--config", "prepare_csv", *paths, *rules, *cluster]
            case "train":
                torchrun = [BIN / "torchrun", "--standalone", f"--nproc_per_node={RANKS}"]
                paths = ["--config", "mf", f"dataset={self.dataset}", f"run_dir={self.run_dir}"]
                length = [f"training.epochs={self.epochs}", "checkpoint.keep=1", "model.tolerance=0"]
                memory = f"training.memory_limit={RANK_MEMORY}"
                return [*torchrun, "launch/train.py", *paths, *PLAIN, *length, memory]
            case "merge":
                return [BIN / "recsys-dist", "merge", self.run_dir, "--output", self.model]
            case "evaluate":
                what: list[str | Path] = ["--dataset", self.dataset, "--output", self.report]
                return [BIN / "recsys-dist", "evaluate", self.model, *what, "--ranking-users", "0"]
            case "recommend":
                what = ["--all-users", "--top", "10", "--output", self.lists]
                return [BIN / "recsys-dist", "recommend", self.model, *what]
        raise ValueError(stage)

    def results(self, stage: str) -> list[Path]:
        """What a stage writes, to be removed before it is done anew."""
        return {
            "make": [self.source],
            "prepare": [self.dataset],
            "train": [self.run_dir],
            "merge": [self.model],
            "evaluate": [self.report],
            "recommend": [self.lists],
        }[stage]


STAGES = ["make", "prepare", "train", "merge", "evaluate", "recommend"]


def run(plan: Plan, stage: str) -> Costs:
    """Run a stage to its end. Ends the program if it fails."""
    for path in plan.results(stage):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    command = [str(word) for word in plan.command(stage)]
    print("$", " ".join(command).replace(f"{ROOT}/", ""), flush=True)
    # A rank has one core; other commands take as many threads as there are cores.
    threads = {"OMP_NUM_THREADS": "1"} if stage == "train" else {}
    costs = measured(command, plan.folder / f"{stage}.log", plan.folder, {"PYTHONPATH": str(ROOT), **threads})
    print(costs.row(stage), flush=True)
    return costs


class Record:
    """The figures of the stages that are done, in FOLDER/stages.json."""

    def __init__(self, plan: Plan) -> None:
        self._path = plan.folder / "stages.json"
        sizes = [plan.ratings, plan.users, plan.items]
        kept = json.loads(self._path.read_text()) if self._path.exists() else {"sizes": sizes, "stages": {}}
        if kept["sizes"] != sizes:
            raise SystemExit(f"{self._path} is of {kept['sizes']} ratings, users and items; name another --folder")
        self._sizes = sizes
        self.stages = {name: Costs(**costs) for name, costs in kept["stages"].items()}

    def add(self, stage: str, costs: Costs) -> None:
        """Note a stage; those after it have to be done again."""
        later = STAGES[STAGES.index(stage) :]
        self.stages = {name: one for name, one in self.stages.items() if name not in later}
        self.stages[stage] = costs
        stages = {name: asdict(one) for name, one in self.stages.items()}
        self._path.write_text(json.dumps({"sizes": self._sizes, "stages": stages}, indent=1) + "\n")


def carry_out(plan: Plan, record: Record, wanted: Sequence[str]) -> None:
    """Run stages in their order, and note each."""
    for stage in wanted:
        record.add(stage, run(plan, stage))
        if stage == "prepare" and not plan.keep:
            shutil.rmtree(plan.source)


def total(costs: Sequence[Costs]) -> Costs:
    """Of stages one after the other: sums of seconds, peaks of memory and disk."""
    return Costs(
        seconds=sum(one.seconds for one in costs),
        cpu_seconds=sum(one.cpu_seconds for one in costs),
        peak_gb=max(one.peak_gb for one in costs),
        disk_gb=max(one.disk_gb for one in costs),
        left_gb=costs[-1].left_gb,
    )


def require_room(plan: Plan) -> None:
    """Tell what all stages need. Ends the program if the disk or the memory is too small."""
    held_gb = folder_bytes(plan.folder) / GIGABYTE
    free_gb = shutil.disk_usage(plan.folder).free / GIGABYTE
    memory_gb = psutil.virtual_memory().available / GIGABYTE
    print(
        f"{plan} need {plan.needed_gb:.1f} GB of disk in {plan.folder} (it holds {held_gb:.1f}, {free_gb:.1f} are "
        f"free) and up to {MEMORY_GB:g} GB of memory ({memory_gb:.1f} are free)",
        flush=True,
    )
    if plan.needed_gb - held_gb > free_gb:
        raise SystemExit("the disk is too full; free some, name another --folder or lower --ratings")
    if memory_gb < MEMORY_GB:
        raise SystemExit("too little memory is free; end other programs")


def tell(plan: Plan, record: Record) -> None:
    """Print the table, and the error of the model beside that of the true one."""
    done = {name: record.stages[name] for name in STAGES if name in record.stages}
    every = list(done.values())
    print(f"\n{plan}, {os.cpu_count()} cores")
    print("| stage | seconds | CPU seconds | peak GB, all processes | peak disk GB | disk GB after it |")
    print("|---|---|---|---|---|---|")
    for name, costs in done.items():
        print(costs.row(name))
    in_all = total(every)
    print(in_all.row("all"))
    if len(done) == len(STAGES) and (in_all.seconds > SECONDS or in_all.peak_gb > MEMORY_GB):
        print(f"above the bars of {SECONDS:,.0f} s and {MEMORY_GB:g} GB")


def require_error(plan: Plan) -> None:
    """Print test RMSE and floor. Ends the program with an error if they are too far apart."""
    made = json.loads((plan.folder / "make.log").read_text().splitlines()[-1])
    report, floor = json.loads(plan.report.read_text()), made["floor_rmse"]
    above, biases = report["rmse"] - floor, report["baselines"]["user_item_bias"]["rmse"]
    print(
        f"{made['rows']:,} ratings; test RMSE {report['rmse']:.4f} on {report['count']:,} of them, {above:.4f} "
        f"above the {floor:.4f} of the true model; of the biases alone {biases:.4f}"
    )
    if above > MARGIN:
        raise SystemExit(f"more than {MARGIN} above the true model; raise --epochs")


def stages(text: str) -> list[str]:
    """The stages that the option names, in their order."""
    named = text.split(",")
    wrong = [name for name in named if name not in STAGES]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is no stage; there are {', '.join(STAGES)}")
    return [name for name in STAGES if name in named]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--ratings", type=whole, default=RATINGS)
    parser.add_argument("--users", type=whole, default=USERS)
    parser.add_argument("--items", type=whole, default=ITEMS)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of training (%(default)s)")
    parser.add_argument("--stages", type=stages, help="do these anew; default: those that are not done")
    parser.add_argument("--keep", action="store_true", help="keep the rating files")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sizes = arguments.ratings, arguments.users, arguments.items
    plan = Plan(folder, *sizes, arguments.epochs, arguments.keep)
    record = Record(plan)
    wanted = arguments.stages or [name for name in STAGES if name not in record.stages]
    require_room(plan)
    carry_out(plan, record, wanted)
    if record.stages:
        tell(plan, record)
    if plan.report.exists():
        require_error(plan)


if __name__ == "__main__":
    main()
