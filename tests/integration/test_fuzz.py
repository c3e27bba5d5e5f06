"""Damaged files of every kind through the commands; the same programs with `--count 2000` try more of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzz.inputs import damaged_files

PATIENCE_S = 60
"""For one command on a busy machine."""


def test_damage_follows_from_the_seed():
    assert list(damaged_files(8, seed=1)) == list(damaged_files(8, seed=1)) != list(damaged_files(8, seed=2))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("program", "count"), [("inputs", 64), ("folders", 40)])
def test_damaged_files_end_in_an_answer_or_one_line(program, count):
    options = [f"--count={count}", "--seed=20", f"--deadline={PATIENCE_S}"]

    # A process of its own has one thread, which may fork.
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.{program}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout
    assert f"{count} trials" in ended.stdout
