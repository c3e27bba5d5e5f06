"""Blocks of README.md and docs/ end without an error, page after page, in one folder and on small data."""

from __future__ import annotations

import csv
import gzip
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.command_forks import CommandForks, command_forks
from tests.support.job_commands import REPOSITORY
from tests.support.pages import Block, blocks
from tests.support.serving import running_server

pytestmark = pytest.mark.slow

DATA = REPOSITORY / "tests" / "data" / "movietweetings"
CHECKOUT = ("configs", "examples", "launch", "recsys_dist")
EXCERPT, CI, HOURS = "an excerpt of examples/neumf.py", "what CI itself does", "takes hours"
NOT_RUN = {
    "git clone ": CI,
    "bash launch/demo.sh ": CI,
    "class NeuMF(": EXCERPT,
    "python -m benchmarks.": HOURS,
    "pip install -c constraints.txt -e '.[mlflow,wandb]'": "tests/unit/training/trackers has an MLflow server",
    "pip install -c constraints.txt -e '.[faiss,hnsw,onnx]'": CI,
    "recsys-dist doctor ": "exits with 1 where the machine has a problem",
    "RUN_DIR=runs/ml1m bash launch/train_node.sh ": "tests/integration/test_hosts.py has the hosts",
    "recsys-dist prepare --config prepare_ml1m input.paths=ratings.dat.gz ": "tests/integration/test_slurm.py",
    "recsys-dist prepare --config prepare_csv input.paths=s3:": "tests/integration/test_object_store.py",
    "export DATASET=": "tests/integration/test_slurm.py has a Slurm",
    "kill -HUP ": "reaches every service of the machine; tests/unit/serving/test_service.py has its own",
}
"""How the first line of a block begins: why it is not run here."""


def reason_of(block: Block) -> str | None:
    """Why a block is not run, if it is not."""
    return next((why for start, why in NOT_RUN.items() if block.first_line.startswith(start)), None)


RUN = [block for block in blocks() if reason_of(block) is None]
SERVED = "localhost:8000"
"""Where the pages say that the service is."""
NUM_ITEMS, NUM_USERS = 100, 150
LATER = 1_376_400_000
"""Ratings from this moment on are those of `tuesday.csv`."""


class Reader:
    """Someone who follows the pages in one checkout, up to where a test asks."""

    def __init__(self, folder: Path, forks: CommandForks) -> None:
        self.folder, self._forks = folder, forks
        self._outcomes: list[str] = []
        self._service = ""

    def reach(self, place: int) -> str:
        """The outcome of this block: what its failing command printed, or nothing."""
        while len(self._outcomes) <= place:
            page = RUN[len(self._outcomes)].page
            # Services end with their page.
            with ExitStack() as services:
                self._outcomes += [self._follow(block, services) for block in RUN if block.page == page]
        return self._outcomes[place]

    def _follow(self, block: Block, services: ExitStack) -> str:
        if block.language == "python":
            (self.folder / "snippet.py").write_text(block.text)
            return self._forked(["snippet.py"], self.folder)
        if block.language == "yaml":
            (self.folder / block.first_line.removeprefix("# ")).write_text(block.text)
            return ""
        return self._typed(block, services)

    def _typed(self, block: Block, services: ExitStack) -> str:
        folder = self.folder
        for line in block.lines:
            words = shlex.split(line, comments=True)
            if words[0] == "cd":
                folder = folder / words[1]
                continue
            if words[:2] == ["recsys-dist", "serve"]:
                server = running_server(folder / words[2], self.folder / "serve.log")
                self._service = services.enter_context(server).url
                continue
            is_own = words[0] == "recsys-dist"
            outcome = self._forked(words[1:], folder) if is_own else self._in_a_shell(line, folder)
            if outcome:
                return f"$ {line}\n{outcome}"
        return ""

    def _forked(self, arguments: list[str], folder: Path) -> str:
        output = self.folder / "printed.txt"
        code = self._forks.run(arguments, folder, output)
        return f"exit code {code}\n{output.read_text()[-4000:]}" if code else ""

    def _in_a_shell(self, line: str, folder: Path) -> str:
        command = line.replace(SERVED, self._service.removeprefix("http://"))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        # curl calls an answer of 404 a success, unless it is told otherwise.
        told = command.replace("curl ", "curl --fail-with-body --silent ", 1)
        ended = subprocess.run(
            ["bash", "-ec", told], cwd=folder, env=environment, check=False, capture_output=True, text=True
        )
        return f"exit code {ended.returncode}\n{ended.stdout}{ended.stderr[-4000:]}" if ended.returncode else ""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    _write_data(folder)
    for name in CHECKOUT:
        shutil.copytree(REPOSITORY / name, folder / name)
    with command_forks() as forks:
        yield Reader(folder, forks)


@pytest.mark.parametrize("place", range(len(RUN)), ids=[block.name for block in RUN])
def test_a_block_ends_without_an_error(reader: Reader, place: int) -> None:
    outcome = reader.reach(place)
    assert not outcome, f"{RUN[place].name}: {outcome}"


def test_reasons_are_for_blocks_of_the_pages() -> None:
    lines = [block.first_line for block in blocks()]
    assert not [start for start in NOT_RUN if not any(line.startswith(start) for line in lines)]


def test_excerpts_are_those_of_the_example() -> None:
    example = (REPOSITORY / "examples" / "neumf.py").read_text(encoding="utf-8")
    kept = {line.partition("  #")[0].rstrip() for line in example.splitlines()}
    excerpts = [block for block in blocks() if reason_of(block) == EXCERPT]
    text = "".join(block.text.replace("rd.", "") for block in excerpts)
    lines = [line.partition("  #")[0].rstrip() for line in text.splitlines()]
    assert lines
    assert not set(lines) - kept


def _write_data(folder: Path) -> None:
    """Ratings of those who have the most in MovieTweetings: as CSV, and halved as MovieLens 1M has them."""
    rows = _lines("ratings.dat.gz")
    items = {item for item, _ in Counter(row[1] for row in rows).most_common(NUM_ITEMS)}
    rows = [row for row in rows if row[1] in items]
    users = {user for user, _ in Counter(row[0] for row in rows).most_common(NUM_USERS)}
    rows = [row for row in rows if row[0] in users]
    heads = ("user_id", "item_id", "rating", "timestamp")
    _write(folder / "ratings.csv", heads, [row for row in rows if int(row[3]) < LATER])
    _write(folder / "tuesday.csv", heads, [row for row in rows if int(row[3]) >= LATER])
    titles = [row[:2] for row in _lines("movies.dat.gz") if row[0] in items]
    _write(folder / "movies.csv", ("item_id", "title"), titles)
    _write(folder / "pairs.csv", heads[:2], [row[:2] for row in rows[:20]])
    movielens = folder / "ml-1m"
    movielens.mkdir()
    halved = [f"{user}::{item}::{max(1, round(int(rating) / 2))}::{time}\n" for user, item, rating, time in rows]
    (movielens / "ratings.dat").write_text("".join(halved))
    films = "".join(f"{item}::{title}::Drama\n" for item, title in titles)
    (movielens / "movies.dat").write_text(films, encoding="latin-1", errors="replace")


def _lines(name: str) -> list[list[str]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("::") for line in lines]


def _write(path: Path, heads: tuple[str, ...], rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([heads, *rows])
