"""Train beyond the memory of one rank, under a hard limit on its address space. Not a test: it asserts nothing.

    python -m benchmarks.memory items   WORK_DIR    two million items on 4 ranks
    python -m benchmarks.memory ratings WORK_DIR    train ratings of four times the memory allowed, 2 ranks
    python -m benchmarks.memory columns WORK_DIR    AutoRec with two million columns on 4 ranks

The limit is RLIMIT_AS, which the kernel keeps for each process: an allocation past it fails. Python, torch and
their threads reserve more address space than they use, so the limit is the peak of the same command on next to no
data (the floor) plus what the training may take. Each form of training runs within the limit and without it;
models are compared by every bit of their checkpoints and by their test RMSE, but for `columns`: without the limit
the form that breaks would need four times the memory. Linux only. Timings are wall-clock.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.commands import PLAIN, ROOT, epoch_seconds, evaluate, training_command
from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, Checkpoint, committed_names
from recsys_dist.checkpoint.compare import content_digests, find_differences
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.shares import parameter_bytes
from recsys_dist.families.mf.ranks.item_partition import RATING_BYTES
from recsys_dist.storage.folder import Folder
from tests.support.prepared import low_rank_ratings, write_dataset

MIB = 2**20
ROOM = 1536 * MIB
"""Beyond the floor, for a rank's own 500,000 items with 8 factors and one block of the items of others."""
THRIFTY = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Allocators that reserve little beyond what they use: 1 GiB otherwise, and 64 MiB for each thread."""
COLUMNS, HIDDEN = 2_000_000, 256
"""Of AutoRec."""
PASSES = 4
"""Times the memory allowed that the ratings of a rank take."""


@dataclass
class Peak:
    """Of one process: the most that was resident, and the most address space, in bytes."""

    resident: int = 0
    reserved: int = 0


@dataclass
class Ended:
    """One training that has ended, well or not."""

    exit_code: int
    seconds: float
    ranks: list[Peak]
    output: str

    @property
    def reserved(self) -> int:
        """The most address space of any rank."""
        return max(rank.reserved for rank in self.ranks)


@dataclass(frozen=True)
class Setting:
    """What all trainings of one comparison share."""

    work: Path
    num_ranks: int
    overrides: list[str]
    config: str = "mf"

    def train(self, dataset: Path, name: str, *overrides: str, limit: int | None = None) -> Ended:
        """Train anew in WORK_DIR/name, each rank within `limit` bytes of address space; tell how it ended."""
        run_dir = self.work / name
        shutil.rmtree(run_dir, ignore_errors=True)
        command = training_command(self.config, dataset, run_dir, self.num_ranks, *self.overrides, *overrides)
        prefix = [] if limit is None else ["prlimit", f"--as={limit}"]
        ended = launch([*prefix, *map(str, command)], self.num_ranks)
        tell(name, ended, run_dir)
        return ended


def launch(command: list[str], num_ranks: int) -> Ended:
    """Run a command to its end, watching its ranks: of all its processes the largest."""
    print("$", " ".join(command).replace(f"{ROOT}/", ""), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **THRIFTY}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peaks: dict[int, Peak] = {}
    watcher = threading.Thread(target=watch, args=(process, peaks), daemon=True)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    ranks = sorted(peaks.values(), key=lambda peak: peak.resident, reverse=True)[:num_ranks]
    return Ended(process.returncode, time.perf_counter() - start, ranks, output)


def watch(process: subprocess.Popen[str], peaks: dict[int, Peak]) -> None:
    """Note what the kernel says of the peaks of a process and its children, twenty times a second."""
    while process.poll() is None:
        try:
            root = psutil.Process(process.pid)
            for one in [root, *root.children(recursive=True)]:
                note(one.pid, peaks.setdefault(one.pid, Peak()))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.05)


def note(pid: int, peak: Peak) -> None:
    """Take the peaks of one process from the kernel; one that is ending has none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return
    told = dict(line.split(":", 1) for line in lines)
    if "VmHWM" in told:
        # Before it becomes another program a child shows the memory of its parent: take the last word.
        peak.resident, peak.reserved = (int(told[name].split()[0]) * 1024 for name in ("VmHWM", "VmPeak"))


def tell(name: str, ended: Ended, run_dir: Path) -> None:
    """Print the figures of one training, or why it failed."""
    memory = ", ".join(f"{peak.resident / MIB:,.0f} ({peak.reserved / MIB:,.0f})" for peak in ended.ranks)
    print(f"  {name}: exit code {ended.exit_code} after {ended.seconds:.0f} s")
    print(f"    MiB resident (reserved) at the peak of each rank: {memory}")
    if ended.exit_code:
        for line in reasons(ended.output):
            print(f"    {line}")
    else:
        epochs = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        received = ", ".join(f"{epoch['received_mb']:,.0f}" for epoch in epochs)
        seconds = ", ".join(f"{one:.1f}" for one in epoch_seconds(run_dir))
        print(f"    {len(epochs)} epochs; seconds each: {seconds}; MB received by rank 0: {received}", flush=True)


def reasons(output: str) -> list[str]:
    """What was said of a failure: by rank 0 itself, and of the rank that failed first by torchrun."""
    lines = [line.strip() for line in output.splitlines()]
    own = [line for line in lines if line.startswith("error: ")]
    root = [place for place, line in enumerate(lines) if line.startswith("Root Cause")]
    first = [line for line in lines[root[-1] if root else len(lines) :] if line.startswith("traceback :")]
    calls = sum(line.startswith('File "') and "/recsys_dist/" in line for line in lines)
    return [*own, *first, f"lines of tracebacks through the package: {calls}"]


def compare(dataset: Path, *run_dirs: Path) -> None:
    """Print the test RMSE of some runs, and where their last checkpoints differ from that of the first."""
    for run_dir in run_dirs:
        report = evaluate(dataset, run_dir, "--ranking-users", "0")
        print(f"  {run_dir.name}: test RMSE {report['rmse']:.9f} over {report['count']:,} ratings", flush=True)
    first, *others = run_dirs
    for run_dir in others:
        ours, theirs = last_checkpoint(first), last_checkpoint(run_dir)
        wanted, found = content_digests(ours), content_digests(theirs)
        names = [name for name in wanted if wanted[name] != found.get(name)]
        print(f"  {first.name} and {run_dir.name}: {len(names)} of {len(wanted)} tensors and values differ")
        for difference in find_differences(ours, theirs, names):
            print(f"    {difference}")


def last_checkpoint(run_dir: Path) -> Checkpoint:
    """The newest one of a run."""
    folder = Folder(str(run_dir)).child(CHECKPOINTS)
    return Checkpoint.open(folder.child(str(committed_names(folder)[-1])))


def made(path: Path, num_users: int, num_items: int, num_ratings: int, num_shards: int) -> Path:
    """A data set of about so many ratings, a tenth of them test ratings; kept from an earlier call."""
    if not (path / "manifest.json").exists():
        user, item, rating = low_rank_ratings(num_users, num_items, num_ratings)
        split = np.where(np.random.default_rng(1).random(len(user)) < 0.9, 0, 2)
        write_dataset(path, user, item, rating, split, num_users, num_items, num_shards)
    counts = Dataset.open(str(path)).manifest.num_ratings
    print(
        f"  {path.name}: {num_users:,} users, {num_items:,} items, {counts['train']:,} train ratings", flush=True
    )
    return path


def floor_of(setting: Setting, dataset: Path) -> int:
    """Address space of a rank that trains on next to no data, in bytes."""
    ended = setting.train(dataset, "floor")
    if ended.exit_code:
        raise SystemExit(f"without a limit the training failed:\n{ended.output[-4000:]}")
    return ended.reserved


def items(work: Path) -> None:
    """Items that travel in blocks, and items that are whole on every rank, within the same limit."""
    setting = Setting(work, 4, [*PLAIN, "model.factors=8", "training.epochs=2"])
    dataset = made(work / "data-items", 600_000, 2_000_000, 4_400_000, 16)
    limit = floor_of(setting, made(work / "data-small", 300, 100, 5_000, 8)) + ROOM
    print(f"  the limit: {limit / MIB:,.0f} MiB of address space, {ROOM / MIB:,.0f} above the floor", flush=True)
    in_blocks = "training.memory_limit=256MiB"
    setting.train(dataset, "blocks-limited", in_blocks, limit=limit)
    setting.train(dataset, "whole-limited", limit=limit)
    setting.train(dataset, "blocks", in_blocks)
    setting.train(dataset, "whole")
    compare(dataset, work / "blocks-limited", work / "blocks", work / "whole")


def ratings(work: Path) -> None:
    """Ratings that are read anew on every pass, and ratings that are kept, within the same limit."""
    setting = Setting(work, 2, [*PLAIN, "training.epochs=4"])
    sizes = {"num_users": 120_000, "num_items": 3_500, "num_shards": 64}
    dataset = made(work / "data-ratings", num_ratings=48_000_000, **sizes)
    num_ratings = Dataset.open(str(dataset)).manifest.num_ratings["train"]
    allowed = num_ratings * RATING_BYTES // (setting.num_ranks * PASSES)
    # The same users and items, whose factors a rank holds in any case.
    limit = floor_of(setting, made(work / "data-few", num_ratings=120_000, **sizes)) + allowed
    print(
        f"  the limit: {limit / MIB:,.0f} MiB of address space, {allowed / MIB:,.0f} above the floor", flush=True
    )
    read_anew = f"training.memory_limit={allowed}B"
    setting.train(dataset, "anew-limited", read_anew, limit=limit)
    setting.train(dataset, "kept-limited", limit=limit)
    setting.train(dataset, "kept")
    compare(dataset, work / "anew-limited", work / "kept")


def columns(work: Path) -> None:
    """AutoRec whose parameters are dealt out, and whose parameters every rank holds, within the same limit."""
    given = ["model.regularization=60", "model.implicit_input=0", "model.input_dropout=0.5"]
    size = [f"model.hidden={HIDDEN}", "model.batch_ratings=280000", "training.epochs=2"]
    setting = Setting(work, 4, [*given, *size], "autorec_user")
    dataset = made(work / "data-columns", 20_000, COLUMNS, 1_400_000, 16)
    parameters = parameter_bytes(COLUMNS, AutorecSettings(kind="autorec", hidden=(HIDDEN,)))
    # Parameters, gradients and two moments of Adam of the columns of a rank, and half as much for all else.
    room = 4 * parameters // setting.num_ranks * 3 // 2
    small = made(work / "data-small", 300, 100, 5_000, 8)
    limit = floor_of(setting, small) + room
    print(f"  the limit: {limit / MIB:,.0f} MiB of address space, {room / MIB:,.0f} above the floor", flush=True)
    setting.train(dataset, "ddp-limited", "model.parallel=ddp", limit=limit)
    setting.train(dataset, "sharded-limited", "model.parallel=sharded", limit=limit)
    compare(dataset, work / "sharded-limited")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    comparisons = {"items": items, "ratings": ratings, "columns": columns}
    parser.add_argument("what", choices=comparisons)
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    comparisons[arguments.what](arguments.work.resolve())


if __name__ == "__main__":
    main()
