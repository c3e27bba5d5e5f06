"""The command line: parses, calls one function of the layers below, prints.

`recsys-dist COMMAND` and `python launch/COMMAND.py` are the same program.
"""

from recsys_dist.cli.commands import main

__all__ = ["main"]
