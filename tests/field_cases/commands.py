"""Commands in processes of their own, where streams are pipes, files and terminals as a person has them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

PROGRAM = [sys.executable, "-c", "import sys; from recsys_dist.cli import main; main(sys.argv[1:])"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
DEADLINE_S = 120


def command(*arguments: object, **environment: str) -> dict[str, Any]:
    """The arguments of subprocess.run, or Popen, for one command."""
    # Bytes stay what they are, which no text can be for all names of files.
    encoded = [one if isinstance(one, bytes) else str(one).encode() for one in arguments]
    return {"args": [*PROGRAM, *encoded], "env": {**os.environ, **environment}}


def run(*arguments: object, stdout: Any = subprocess.PIPE, **environment: str) -> tuple[int, bytes, str]:
    """Exit code, stdout as it came, and stderr."""
    given = command(*arguments, **environment)
    done = subprocess.run(**given, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=DEADLINE_S)
    return done.returncode, done.stdout or b"", done.stderr.decode()


def run_unread(*arguments: object) -> tuple[int, str]:
    """Exit code and stderr where the reader of stdout is gone before anything is printed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, _, err = run(*arguments, stdout=writing)
    finally:
        os.close(writing)
    return code, err


def one_line(err: str) -> str:
    """The reason of the only error."""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    return lines[0].removeprefix("error: ")
