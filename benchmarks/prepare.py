"""Preparation beside DuckDB, and under worker kills.

    python -m benchmarks.prepare WORK_DIR [--kills 20] [--preparations 5]

prepares 27 million ratings on a scheduler with workers of their own, kills one of these at a random moment and
starts another in its place until so many were killed, as many in each of at least so many preparations, and
compares every file with that of a preparation in peace.

`beside_duckdb` sets `recsys-dist prepare` with 2 local workers beside DuckDB with 2 threads, in turns, on the
same file: DuckDB reads it, numbers users and items, sorts by both and writes Parquet partitioned into as many
shards. It is installed from PyPI into an environment under the work folder. Seconds are those of the whole
processes; memory is the peak of the sum over all processes of what is theirs, shared pages shared out (PSS), in
a run of its own before those that are timed: to look at the pages of a process holds it up. `python -m
benchmarks.run prepare` makes a table of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.commands import BIN, ROOT
from benchmarks.environments import set_up
from recsys_dist.dataset.dataset import Dataset

USERS_PER_MILLION, ITEMS = 10_000, 45_000
COLUMNS = "input.columns={user: userId, item: movieId, rating: rating, timestamp: timestamp}"
WORKERS, WORKER_MEMORY = 2, "1400MiB"
SAMPLE_S, GIGABYTE = 0.2, 1e9
DUCKDB = """
import sys
import duckdb
source, target = sys.argv[1:]
connection = duckdb.connect()
connection.execute("SET threads = 2")
read = "read_parquet" if source.endswith(".parquet") else "read_csv"
connection.execute(f"CREATE TABLE ratings AS SELECT * FROM {read}('{source}')")
connection.execute(
    "CREATE TABLE users AS SELECT userId, row_number() OVER (ORDER BY hash(userId)) - 1 AS user_index "
    "FROM (SELECT DISTINCT userId FROM ratings)"
)
connection.execute(
    "CREATE TABLE items AS SELECT movieId, row_number() OVER (ORDER BY count(*) DESC, movieId) - 1 AS item_index "
    "FROM ratings GROUP BY movieId"
)
num_users = connection.execute("SELECT count(*) FROM users").fetchone()[0]
connection.execute(
    f"COPY (SELECT user_index * 16 // {num_users} AS shard, user_index::INTEGER AS user_index, "
    "item_index::INTEGER AS item_index, rating::FLOAT AS rating, timestamp FROM ratings JOIN users USING (userId) "
    f"JOIN items USING (movieId) ORDER BY user_index, item_index) TO '{target}' "
    "(FORMAT parquet, PARTITION_BY (shard))"
)
"""


@dataclass
class Timed:
    """Runs of one program on one file."""

    program: str
    source: str
    seconds: list[float] = field(default_factory=list)
    peak_gb: list[float] = field(default_factory=list)

    def weigh(self, *command: str | Path) -> None:
        """Run it for the memory it takes."""
        peak: list[int] = [0]
        process = _start(*command)
        watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
        watcher.start()
        _require_success(process)
        watcher.join()
        self.peak_gb.append(peak[0] / GIGABYTE)

    def run(self, *command: str | Path) -> None:
        """Run it for the seconds it takes."""
        start = time.perf_counter()
        _require_success(_start(*command))
        self.seconds.append(time.perf_counter() - start)


def _start(*command: str | Path) -> subprocess.Popen[str]:
    words = [str(word) for word in command]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _require_success(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}:\n{output[-4000:]}")


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """Note the most memory that a process and its children have together."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        for one in [root, *_children(root)]:
            try:
                total += one.memory_full_info().pss
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total)
        time.sleep(SAMPLE_S)


def _children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def ratings_file(work: Path, millions: float, suffix: str, generator: Path) -> Path:
    """About so many million synthetic ratings; kept from an earlier call."""
    path = work / f"ratings-{millions:g}m.{suffix}"
    if not path.exists():
        shape = ["--users", f"{round(millions * USERS_PER_MILLION)}", "--items", f"{ITEMS}"]
        partial = path.with_name(f"partial-{path.name}")
        size = ["--ratings", f"{round(millions * 1e6)}", "--seed", "0", "--out", str(partial)]
        subprocess.run([sys.executable, str(generator), *shape, *size], check=True, stdout=subprocess.DEVNULL)
        partial.rename(path)
        # So that nothing is left to write to the disk while programs are timed.
        os.sync()
    return path


def preparation(source: Path, output: Path, *overrides: str) -> list[str | Path]:
    """What prepares a dataset."""
    paths = [f"input.paths={source}", f"output={output}", COLUMNS, "split.valid=0"]
    cluster = [f"cluster.workers={WORKERS}", f"cluster.memory_limit={WORKER_MEMORY}"]
    return [BIN / "recsys-dist", "prepare", "--config", "configs/prepare_csv.yaml", *paths, *cluster, *overrides]


def beside_duckdb(work: Path, runs: int, generator: Path) -> list[Timed]:
    """Both programs in turns, from CSV and from Parquet."""
    python, script = set_up("duckdb", work), work / "prepare_duckdb.py"
    script.write_text(DUCKDB)
    dataset, target, measured = work / "dataset", work / "duckdb-out", []
    for suffix in ("csv", "parquet"):
        source = ratings_file(work, 27, suffix, generator)
        ours, theirs = Timed("recsys-dist", suffix), Timed("DuckDB", suffix)
        for attempt in range(runs + 1):
            for timed, output, command in (
                (theirs, target, [python, script, source, target]),
                (ours, dataset, preparation(source, dataset)),
            ):
                shutil.rmtree(output, ignore_errors=True)
                (timed.run if attempt else timed.weigh)(*command)
        measured += [ours, theirs]
    return measured


def kills(work: Path, num_kills: int, least: int, seed: int, generator: Path) -> None:
    """Kill workers of a scheduler at random moments, and compare with a preparation in peace."""
    source = ratings_file(work, 27, "csv", generator)
    peace, killed = work / "peace", work / "killed"
    shutil.rmtree(peace, ignore_errors=True)
    unbroken = Timed("recsys-dist", "csv")
    unbroken.run(*preparation(source, peace))
    share = -(-num_kills // least)
    # So that the kills of a preparation spread over all of it, give or take.
    longest_s = 2 * unbroken.seconds[0] / (share + 1)
    expected = (peace / "manifest.json").read_bytes()
    moments, done, rounds = random.Random(seed), 0, 0
    with Workers(work / "dask") as workers:
        while done < num_kills:
            shutil.rmtree(killed, ignore_errors=True)
            cluster = [f"cluster.address={workers.address}", "cluster.workers=null", "cluster.kind=address"]
            command = preparation(source, killed, *cluster)
            process = subprocess.Popen(
                [str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            until = min(num_kills, done + share)
            while process.poll() is None and done < until:
                time.sleep(moments.uniform(0, longest_s))
                if process.poll() is None:
                    workers.kill_one(moments)
                    done += 1
            rounds += 1
            if process.wait():
                raise SystemExit(f"a preparation ended with exit code {process.returncode}")
            same = (killed / "manifest.json").read_bytes() == expected
            Dataset.open(str(killed), verify=True)
            print(f"{done} workers killed in {rounds} preparations; the same bytes: {same}", flush=True)


class Workers:
    """A Dask scheduler and two workers on loopback."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder, self._meeting = folder, folder / "scheduler.json"
        self._options = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(self._meeting)]
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Workers:
        # A task that was on three killed workers would be given up; here a fifth of a second decides who dies.
        generous = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "100"}
        self._scheduler = self._start("dask_scheduler", ["--port", "0"], generous)
        while not self._meeting.exists() or not self._meeting.stat().st_size:
            time.sleep(0.05)
        self.address = json.loads(self._meeting.read_text())["address"]
        self._running = [self._worker() for _ in range(WORKERS)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._running, self._scheduler]:
            process.kill()
            process.wait()

    def _worker(self) -> subprocess.Popen[bytes]:
        return self._start(
            "dask_worker", ["--nthreads", "1", "--no-nanny", "--local-directory", str(self._folder)]
        )

    def _start(
        self, module: str, options: list[str], variables: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *self._options, *options]
        environment = {**os.environ, **(variables or {})}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_one(self, moments: random.Random) -> None:
        """Kill one of the workers, and start another."""
        place = moments.randrange(len(self._running))
        self._running[place].kill()
        self._running[place].wait()
        self._running[place] = self._worker()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--preparations", type=int, default=5, help="at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--generator", type=Path, default=ROOT.parent / "shared" / "tools" / "make_ratings.py")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    work, generator = arguments.work.resolve(), arguments.generator.resolve()
    kills(work, arguments.kills, arguments.preparations, arguments.seed, generator)


if __name__ == "__main__":
    main()
