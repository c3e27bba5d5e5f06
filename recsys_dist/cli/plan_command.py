"""`plan`: what a training needs, before it starts."""
# ruff: noqa: PLC0415 - heavy modules are imported inside the command, so that `--help` is fast

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.cli.options import ConfigOption, Overrides, require_writable
from recsys_dist.errors import ConfigError


def plan(
    config: ConfigOption,
    overrides: Overrides = None,
    ranks: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Number of ranks.")] = 1,
    memory: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation at run time
        typer.Option(
            metavar="SIZE",
            help="Memory of each rank, such as 16GiB; without it, the ranks share what this machine has free.",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure/--no-measure",
            help="Train a few seconds on made-up ratings, for the time of an epoch and the memory of a process.",
        ),
    ] = True,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE.json", help="Also write the plan to this file."),
    ] = None,
) -> None:
    """Say what a training needs before it starts: memory of each rank, traffic, checkpoints, seconds of an epoch.

    Reads the manifest of the dataset alone. Where the memory does not suffice, it says what to change. `run_dir`
    is neither needed nor touched. Exit code 0 also for a plan that does not fit: see `fits` in the table.

    Example: recsys-dist plan --config mf dataset=data/ml1m --ranks 4 --memory 16GiB
    """
    from recsys_dist.cli.show.plan import print_plan
    from recsys_dist.planning.planner import make_plan
    from recsys_dist.shipped_configs import find_config
    from recsys_dist.training.config import load_training

    require_writable(output)
    # `run_dir` is required, and most configurations leave it to the command line.
    settings = load_training(find_config(config), ["run_dir=unused", *(overrides or ())])
    made = make_plan(settings, ranks, _size(memory), measure)
    if output is not None:
        output.write_bytes(made.to_json())
    print_plan(made)


def _size(text: str | None) -> int | None:
    from recsys_dist.sizes import parse_size

    if text is None:
        return None
    try:
        return int(parse_size(text))
    except ValueError as error:
        raise ConfigError(f"--memory {error}") from None
