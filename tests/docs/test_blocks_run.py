"""Blocks of README.md and docs/ marked `<!-- run -->` end without an error, page after page, on small data."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_forks import CommandForks, command_forks
from tests.support.job_commands import REPOSITORY
from tests.support.pages import Block, blocks

pytestmark = pytest.mark.slow

DATA = REPOSITORY / "tests" / "data" / "movietweetings"
RUN = [block for block in blocks() if block.is_run]
NUM_ITEMS, NUM_USERS = 100, 150
LATER = 1_376_400_000
"""Ratings from this moment on are those of `tuesday.csv`."""


class Reader:
    """Someone who follows the pages in one folder, up to where a test asks."""

    def __init__(self, folder: Path, forks: CommandForks) -> None:
        self.folder, self._forks = folder, forks
        self._outcomes: list[str] = []

    def reach(self, place: int) -> str:
        """The outcome of this block: what its failing command printed, or nothing."""
        while len(self._outcomes) <= place:
            self._outcomes.append(self._follow(RUN[len(self._outcomes)]))
        return self._outcomes[place]

    def _follow(self, block: Block) -> str:
        if block.language == "python":
            (self.folder / "snippet.py").write_text(block.text)
            return self._forked(["snippet.py"])
        for words in block.commands:
            outcome = self._forked(words[1:]) if words[0] == "recsys-dist" else self._started(words)
            if outcome:
                return f"$ {' '.join(words)}\n{outcome}"
        return ""

    def _forked(self, arguments: list[str]) -> str:
        output = self.folder / "printed.txt"
        code = self._forks.run(arguments, self.folder, output)
        return f"exit code {code}\n{output.read_text()[-4000:]}" if code else ""

    def _started(self, words: list[str]) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(
            words, cwd=self.folder, env=environment, check=False, capture_output=True, text=True
        )
        return f"exit code {ended.returncode}\n{ended.stdout}{ended.stderr[-4000:]}" if ended.returncode else ""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    _write_data(folder)
    with command_forks() as forks:
        yield Reader(folder, forks)


@pytest.mark.parametrize("place", range(len(RUN)), ids=[block.name for block in RUN])
def test_a_block_ends_without_an_error(reader: Reader, place: int) -> None:
    outcome = reader.reach(place)
    assert not outcome, f"{RUN[place].name}: {outcome}"


def _write_data(folder: Path) -> None:
    """ratings.csv and tuesday.csv, movies.csv, pairs.csv: those with the most ratings of MovieTweetings."""
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


def _lines(name: str) -> list[list[str]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("::") for line in lines]


def _write(path: Path, heads: tuple[str, ...], rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([heads, *rows])
