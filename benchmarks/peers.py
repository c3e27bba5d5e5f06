"""Train other programs and this one on the same ratings, on one machine, in one go. It asserts nothing.

    python -m benchmarks.peers WORK_DIR [--opponents libmf,surprise,cmfrec,spark] [--runs 3] [--data ml-1m]

Every program trains on the train ratings of one prepared dataset and is scored on its test split by the global
RMSE: over all test pairs, predictions clipped to the rating range, the train mean where a program predicts none.
Each training is a process of its own on 2 threads (ours: 2 ranks of one thread; Surprise knows one thread only),
the programs take turns, and only training is timed. Each opponent is installed from PyPI into an environment under
WORK_DIR; LIBMF and cmfrec are compiled there (a C++ compiler, the headers of Python), Spark needs a Java of 17 or
newer. What cannot be had is skipped with a line that says why. The settings of the opponents were chosen on the
test split, in their favour; ours are the shipped ones (with as many factors as theirs on the large data).

The table goes to the screen and to WORK_DIR/peers-DATA.json. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks.commands import BIN, ROOT, Finished, epoch_seconds, ml1m, run, synthetic, train
from benchmarks.environments import UnavailableError, set_up, version_of
from benchmarks.exported import Score, export
from benchmarks.opponents import THREADS, Opponent, Training, measure, opponents
from recsys_dist.dataset.dataset import Dataset

SETTINGS = {"27m": ["model.factors=16"], "ml-1m": []}
"""Of ours: on the large data the length that the opponents' factors have there, all else as shipped."""
TARGETS = {"27m": 0.7538}
"""The lowest error that LIBMF was ever brought to on such ratings, over all its settings."""


@dataclass
class Ours:
    """Trainings of ours: the seconds of each epoch of each run, and the test RMSE after some epochs."""

    epoch_seconds: list[list[float]] = field(default_factory=list)
    whole_seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    rmse: dict[int, float] = field(default_factory=dict)

    def add(self, finished: Finished, epoch_seconds: list[float]) -> None:
        """Note one run."""
        self.epoch_seconds.append(epoch_seconds)
        self.whole_seconds.append(finished.seconds)
        self.peak_bytes.append(sum(finished.peak_bytes))

    @property
    def last_epoch(self) -> int:
        return len(self.epoch_seconds[0])

    def reaching(self, target: float) -> tuple[int, list[float]] | None:
        """The first epoch with a test RMSE of at most `target`, and the seconds up to its end in each run."""
        reached = [epoch for epoch, rmse in sorted(self.rmse.items()) if rmse <= target]
        if not reached:
            return None
        return reached[0], [list(accumulate(seconds))[reached[0] - 1] for seconds in self.epoch_seconds]


def train_ours(dataset: Path, run_dir: Path, epochs: int, settings: list[str]) -> Finished:
    """Train on two ranks, and keep every epoch."""
    kept = ["checkpoint.every=1", f"checkpoint.keep={epochs}"]
    return train("mf", dataset, run_dir, THREADS, f"training.epochs={epochs}", *settings, *kept)


def rmse_after(dataset: Path, run_dir: Path, epoch: int) -> float:
    """Test RMSE of the checkpoint of one epoch."""
    model, report = run_dir / "model", run_dir / "report.json"
    shutil.rmtree(model, ignore_errors=True)
    run(BIN / "recsys-dist", "merge", run_dir, "--output", model, "--step", str(epoch))
    run(BIN / "recsys-dist", "evaluate", model, "--dataset", dataset, "--output", report, "--ranking-users", "0")
    return float(json.loads(report.read_text())["rmse"])


def evaluate_ours(ours: Ours, dataset: Path, run_dir: Path, targets: list[float]) -> None:
    """Test RMSE after the last epoch, and after each one until the lowest target that is met at all."""
    last = ours.last_epoch
    ours.rmse[last] = rmse_after(dataset, run_dir, last)
    met = [target for target in targets if ours.rmse[last] <= target]
    for epoch in range(1, last if met else 1):
        ours.rmse[epoch] = rmse_after(dataset, run_dir, epoch)
        if ours.rmse[epoch] <= min(met):
            break


def install(wanted: set[str], data: str, work: Path) -> dict[Opponent, Path]:
    """The opponents that can be measured here, each with its Python; of the others it is said why not."""
    pythons: dict[str, Path] = {}
    for name in dict.fromkeys(one.environment for one in opponents(data) if one.program in wanted):
        try:
            pythons[name] = set_up(name, work)
        except UnavailableError as reason:
            print(f"skipped {name}: {reason}", flush=True)
    return {
        one: pythons[one.environment]
        for one in opponents(data)
        if one.program in wanted and one.environment in pythons
    }


def rounds(
    pythons: dict[Opponent, Path], dataset_path: Path, work: Path, arguments: argparse.Namespace
) -> tuple[Ours, dict[Opponent, list[Training]]]:
    """Train everything so many times, in turns."""
    exported = export(dataset_path, work / f"export-{arguments.data}")
    score, run_dir = Score(Dataset.open(str(dataset_path))), work / f"ours-{arguments.data}"
    ours = Ours()
    theirs: dict[Opponent, list[Training]] = {one: [] for one in pythons}
    for _ in range(arguments.runs):
        finished = train_ours(dataset_path, run_dir, arguments.epochs, SETTINGS[arguments.data])
        ours.add(finished, epoch_seconds(run_dir))
        for one in list(theirs):
            try:
                theirs[one].append(measure(one, pythons[one], exported, work / "output", score))
            except UnavailableError as reason:
                print(f"skipped {one.label}: {reason}", flush=True)
                del theirs[one]
    targets = [rmse_of(trainings) for trainings in theirs.values()]
    evaluate_ours(ours, dataset_path, run_dir, [*targets, *([arguments.target] if arguments.target else [])])
    return ours, theirs


def rmse_of(trainings: list[Training]) -> float:
    """The median: programs that update without locks end a little differently each time."""
    return statistics.median(training.rmse for training in trainings)


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def row_of(one: Opponent, trainings: list[Training], ours: Ours) -> dict[str, Any]:
    """One line of the table: an opponent, and ours at its error."""
    seconds = [training.train_seconds for training in trainings]
    return {
        "program": one.label,
        "version": version_of(one.environment),
        "settings": " ".join(f"{key}={value}" for key, value in one.settings.items()),
        "train_seconds": seconds,
        "load_seconds": [training.load_seconds for training in trainings],
        "whole_seconds": [training.whole_seconds for training in trainings],
        "peak_mb": max(training.peak_bytes for training in trainings) / 1e6,
        "rmse": rmse_of(trainings),
        **against(ours, rmse_of(trainings), seconds),
    }


def against(ours: Ours, target: float, seconds: list[float]) -> dict[str, Any]:
    """When ours reaches an error, and how many times as long the opponent took."""
    reached = ours.reaching(target)
    if reached is None:
        return {"ours_epoch": None, "ours_seconds": [], "times_faster": None}
    epoch, ours_seconds = reached
    ratio = statistics.median(seconds) / statistics.median(ours_seconds)
    return {"ours_epoch": epoch, "ours_seconds": ours_seconds, "times_faster": ratio}


def show(rows: list[dict[str, Any]], ours: Ours, arguments: argparse.Namespace) -> None:
    """Print the table."""
    machine = f"{platform.machine()} with {os.cpu_count()} cores"
    print(f"\n{arguments.data}, {machine}, {arguments.runs} runs: median (range)")
    print("| program | training s | whole process s | test RMSE | peak MB | ours to that RMSE | faster |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        to_reach = (
            f"{spread(row['ours_seconds'])}, epoch {row['ours_epoch']}" if row["ours_epoch"] else "not reached"
        )
        faster = f"{row['times_faster']:.1f} x" if row["ours_epoch"] else ""
        print(
            f"| {row['program']} {row['version']}, {row['settings']} | {spread(row['train_seconds'])} "
            f"| {spread(row['whole_seconds'])} | {row['rmse']:.5f} | {row['peak_mb']:,.0f} | {to_reach} "
            f"| {faster} |"
        )
    totals = [sum(seconds) for seconds in ours.epoch_seconds]
    settings = " ".join(["configs/mf.yaml", *SETTINGS[arguments.data]])
    print(
        f"| ours, {settings}, {ours.last_epoch} epochs | {spread(totals)} | {spread(ours.whole_seconds)} "
        f"| {ours.rmse[ours.last_epoch]:.5f} | {max(ours.peak_bytes) / 1e6:,.0f} | | |"
    )
    show_target(rows, ours, arguments.target)
    print(
        "test RMSE of ours by epoch: "
        + ", ".join(f"{epoch}: {rmse:.5f}" for epoch, rmse in sorted(ours.rmse.items()))
    )


def show_target(rows: list[dict[str, Any]], ours: Ours, target: float | None) -> None:
    """Print when ours reaches a given error, and that time as a share of each opponent's."""
    reached = None if target is None else ours.reaching(target)
    if reached is None:
        return
    epoch, seconds = reached
    print(f"ours to a test RMSE of {target}: {spread(seconds)} s, epoch {epoch}")
    for row in rows:
        share = statistics.median(seconds) / statistics.median(row["train_seconds"])
        print(f"  {share:.3f} of the time of {row['program']}, {row['settings']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    programs = ["libmf", "surprise", "cmfrec", "spark"]
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    parser.add_argument("--opponents", default=",".join(programs), help="some of them (%(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", choices=["27m", "ml-1m"], default="27m")
    parser.add_argument("--epochs", type=int, default=20, help="ceiling of ours (%(default)s)")
    parser.add_argument("--target", type=float, help=f"a test RMSE that ours is timed to as well {TARGETS}")
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "shared" / "data", help="has ml-1m/ in it")
    parser.add_argument("--generator", type=Path, default=ROOT.parent / "shared" / "tools" / "make_ratings.py")
    arguments = parser.parse_args()
    arguments.target = arguments.target or TARGETS.get(arguments.data)
    wanted = set(arguments.opponents.split(","))
    if not wanted <= set(programs):
        parser.error(f"--opponents takes {', '.join(programs)}; not {', '.join(sorted(wanted - set(programs)))}")
    # Settings of OpenBLAS for some other program on this machine would slow numpy and scipy down.
    for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(variable, None)
    compare(wanted, arguments.work.resolve(), arguments)


def compare(wanted: set[str], work: Path, arguments: argparse.Namespace) -> None:
    """Install, prepare, train, and tell."""
    work.mkdir(parents=True, exist_ok=True)
    pythons = install(wanted, arguments.data, work)
    ours, theirs = rounds(pythons, prepared(work, arguments), work, arguments)
    rows = [row_of(one, trainings, ours) for one, trainings in theirs.items()]
    outcome = {"data": arguments.data, "target": arguments.target, "opponents": rows, "ours": asdict(ours)}
    (work / f"peers-{arguments.data}.json").write_text(json.dumps(outcome, indent=1) + "\n")
    show(rows, ours, arguments)


def prepared(work: Path, arguments: argparse.Namespace) -> Path:
    """The dataset of this comparison; the large one is kept from an earlier call."""
    if arguments.data == "ml-1m":
        return ml1m(work, arguments.folder)
    if (work / "ds27m" / "manifest.json").exists():
        return work / "ds27m"
    return synthetic(work, arguments.generator)


if __name__ == "__main__":
    main()
