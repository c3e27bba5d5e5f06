"""What each `launch/COMMAND.py` does: it runs a command of this checkout, installed or not."""

import sys
from os.path import dirname, realpath  # pathlib is slow to load, and Ctrl-C is not yet met


def run(command: str) -> None:
    """Run `command` with the arguments of this process, and end the process with its exit code."""
    sys.path.insert(0, dirname(dirname(realpath(__file__))))  # noqa: PTH120
    from recsys_dist.cli import main  # noqa: PLC0415 - only now can it be found

    main([command, *sys.argv[1:]])
