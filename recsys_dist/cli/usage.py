"""A wrong command line, explained in one line: the program of typer prints its usage and three lines instead."""

from __future__ import annotations

from typing import Any

import typer

UsageError: Any = typer.BadParameter.__bases__[0]
"""The base class of typer's errors about a command line, which typer does not export."""
PREPARE = "prepare"


def explained(error: Any) -> str:
    """One line about a `UsageError`: what is wrong, and where to look."""
    if _lacks_configuration(error):
        return _without_configuration(str(error.ctx.command.name), _paths(error.ctx))
    message = " ".join(error.format_message().split()).rstrip(".")
    # The first word is how this process was started, such as by a script of launch/.
    command = " ".join(["recsys-dist", *(error.ctx.command_path.split()[1:] if error.ctx is not None else [])])
    return f"{message}{' See' if message.endswith('?') else '; see'} `{command} --help`"


def is_help(error: Any) -> bool:
    """Whether the error is the help of a program that was called without arguments."""
    return "\n" in error.format_message().strip()


def _lacks_configuration(error: Any) -> bool:
    name = getattr(getattr(error, "param", None), "name", None)
    return name == "config" and error.ctx is not None and name not in error.ctx.params


def _paths(context: Any) -> list[str]:
    """The arguments that are no settings, such as a file of ratings."""
    return [text for text in context.params.get("overrides") or () if "=" not in text]


def _without_configuration(command: str, paths: list[str]) -> str:
    from recsys_dist.shipped_configs import how_to_configure  # noqa: PLC0415

    if command != PREPARE:
        return f"{command} needs --config: the name of a shipped configuration such as mf, or a file of your own"
    return (
        f"{command} needs --config; {how_to_configure(paths[0] if paths else 'FILE')}: check it, then "
        f"`recsys-dist {command} --config mine.yaml output=DATASET`"
    )
