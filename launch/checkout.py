"""Run a command of this checkout, installed or not, for each `launch/COMMAND.py`."""

import sys
from os.path import dirname, realpath  # pathlib is slow to import, and Ctrl-C is not yet handled


def run(command: str) -> None:
    """Run `command` with the arguments of this process, and end the process with its exit code."""
    sys.path.insert(0, dirname(dirname(realpath(__file__))))  # noqa: PTH120
    from recsys_dist.cli import main  # noqa: PLC0415 - found only with this path

    main([command, *sys.argv[1:]])
