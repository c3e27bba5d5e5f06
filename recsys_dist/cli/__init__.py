"""The command line: parses, calls one function of the layers below, prints.

`recsys-dist COMMAND`, `python -m recsys_dist COMMAND` and `python launch/COMMAND.py` are the same program.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsys_dist.process.ctrl_c import QuietCtrlC


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    with QuietCtrlC():
        # Imported here, so that importing one module of this package does not load all commands.
        from recsys_dist.process.threads import settle_waiting  # noqa: PLC0415

        settle_waiting()
        from recsys_dist.cli.commands import main as run_command  # noqa: PLC0415

        run_command(arguments)
