"""Options and arguments that several commands take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.errors import ConfigError


def _complete_config(incomplete: str) -> list[str]:
    """Shipped names with this prefix; if there are none, the shell completes files."""
    from recsys_dist.shipped_configs import config_names  # noqa: PLC0415

    return [name for name in config_names() if name.startswith(incomplete)]


ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|FILE",
        autocompletion=_complete_config,
        help="Settings of this run: the name of a shipped configuration, such as mf or prepare_csv, or a YAML "
        "file, whose path contains a / or ends in .yaml. The error for an unknown name lists all names and their "
        "folder. A name is refused if the working folder contains a file of that name, with or without .yaml: "
        "write ./NAME.yaml for the file.",
    ),
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Argument(
        metavar="[KEY.SUB=VALUE]...",
        help="Settings that override the file, e.g. model.factors=32 seed=7.",
        show_default=False,
    ),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN_DIR", help="Folder of a training run.", show_default=False)
]
RunsArgument = Annotated[
    list[str],
    typer.Argument(metavar="RUN_DIR...", help="Folders of training runs, one or more.", show_default=False),
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL_DIR", help="Model folder that `merge` wrote.", show_default=False)
]
ModelsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL_DIR...", help="Model folders that `merge` wrote, one or more.", show_default=False
    ),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Check the hash of every model file first; ids and titles are always checked.",
    ),
]
CutsOption = Annotated[
    str,
    typer.Option(metavar="N,N,...", help="Cut-offs of the lists: every metric is measured at each of them."),
]
SegmentsOption = Annotated[
    bool,
    typer.Option(
        "--segments", help="Also show the figures by activity of users, popularity of items and value of ratings."
    ),
]
PerUserOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(metavar="FILE", help="Also write the figures of each user, to a local .parquet file."),
]
FamilyOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        "--family",
        metavar="MODULE:CLASS",
        help="The class of your own model family, to import; repeatable.",
    ),
]


def name_families(specs: list[str] | None) -> None:
    """Register the families that `--family` names. Raises `ConfigError` if one cannot be used."""
    from recsys_dist.protocols.registry import add_family  # noqa: PLC0415

    for spec in specs or ():
        add_family(spec)


def typed(text: str) -> str:
    """An id from the command line, decoded as UTF-8 whatever the locale of this process."""
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        return text


def require_writable(output: Path | None, option: str = "--output") -> None:
    """Raise `ConfigError` if a result file cannot be written; called before the work."""
    if output is None:
        return
    if not output.parent.is_dir():
        raise ConfigError(f"{option} {output}: there is no folder {output.parent}")
    if output.exists() and not output.is_file():
        raise ConfigError(f"{option} {output}: this is not a file; give the name of a file")
