"""Commands as a person types them, each in a process of its own that is forked from one that has imported torch.

A command that starts from nothing takes two seconds of imports; a fork of this program takes none.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.job_commands import REPOSITORY

MODULES = (
    "recsys_dist.api.training",
    "recsys_dist.api.comparison",
    "recsys_dist.cli.commands",
    "recsys_dist.families.ease.training.trainer",
    "recsys_dist.families.mf.training.trainer",
    "recsys_dist.families.neural.trainer",
)


class CommandForks:
    """A running program that forks commands."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, arguments: Sequence[str], folder: Path, output: Path) -> int:
        """Run `recsys-dist ARGUMENTS`, or `python FILE.py` if that is the only argument; returns the exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([list(arguments), str(folder), str(output)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def command_forks() -> Iterator[CommandForks]:
    """Start the program, and end it at the end of the block."""
    command = [sys.executable, "-m", __name__]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield CommandForks(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    from importlib import import_module

    for module in MODULES:
        import_module(module)
    for line in sys.stdin:
        arguments, folder, output = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(arguments, folder, output)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(arguments: list[str], folder: str, output: str) -> None:
    """In the child: never returns."""
    os.chdir(folder)
    written = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(written, stream)
    code = 1
    try:
        code = _exit_code(arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(arguments: list[str]) -> int:
    if arguments[0].endswith(".py"):
        sys.path.insert(0, ".")
        runpy.run_path(arguments[0], run_name="__main__")
        return 0
    from recsys_dist.cli.commands import main

    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    _serve()
