"""The page of the command line, from the commands themselves: usage, arguments, options and examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from docs.site_builder.markdown import table, text_of
from recsys_dist.cli.commands import NAME, app

HEAD = """# Command line

This page is generated from the commands. `recsys-dist COMMAND --help` prints the same text.

"""
COMMAND_STARTS = (f"{NAME} ", "torchrun ")


def commands() -> dict[str, Any]:
    """The commands by name, in the order of `--help`."""
    program: Any = typer.main.get_command(app)
    found: dict[str, Any] = program.commands
    return found


def cli_page() -> str:
    """The page as markdown."""
    program: Any = typer.main.get_command(app)
    return "".join([HEAD, text_of(program.help), "\n\n", *map(_section, commands().items())])


def _section(item: tuple[str, Any]) -> str:
    name, command = item
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = " ".join([NAME, name, *(one.metavar for one in arguments), "[OPTIONS]"])
    described = "".join(_paragraphs(command.help or ""))
    rows = [_argument(one) for one in arguments] + [_option(one) for one in options]
    heads = ("argument or option", "default", "meaning")
    return f"## {name} {{#{name}}}\n\n```text\n{usage}\n```\n\n{described}{table(heads, rows)}\n"


def _paragraphs(text: str) -> Iterable[str]:
    for paragraph in text.split("\n\n"):
        line = " ".join(paragraph.split())
        command = line.removeprefix("Example: ")
        if command.startswith(COMMAND_STARTS):
            yield f"```sh\n{command}\n```\n\n"
        else:
            yield f"{text_of(line)}\n\n"


def _argument(one: Any) -> tuple[str, str, str]:
    return f"`{one.metavar}`", "required" if one.required else "none", text_of(one.help or "")


def _option(one: Any) -> tuple[str, str, str]:
    names = ", ".join([*one.opts, *one.secondary_opts])
    value = "" if one.is_flag else f" {one.metavar or _kind(one.default)}"
    return f"`{names}{value}`", "required" if one.required else _default(one), text_of(one.help or "")


def _kind(default: Any) -> str:
    return "NUMBER" if isinstance(default, int | float) else "TEXT"


def _default(one: Any) -> str:
    if one.default is None:
        return "none"
    return ("yes" if one.default else "no") if one.is_flag else f"`{one.default}`"
