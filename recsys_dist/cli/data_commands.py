"""`prepare` and `inspect`: from rating files to a prepared dataset, and looks at both.

Heavy modules are imported inside the command that needs them: `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.cli.options import ConfigOption, Overrides, require_writable
from recsys_dist.errors import ConfigError

OBJECTS_PER_SEARCH = 100_000
"""So many more objects than before make Python look for cycles among them."""


def prepare(
    config: ConfigOption,
    overrides: Overrides = None,
    append: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Add this file, folder, glob or URL to the dataset at `output`; may be repeated. The same as "
            "append=true input.paths=FILE.",
        ),
    ] = None,
) -> None:
    """Turn rating files into a prepared dataset (Dask: a local cluster, or the one that cluster.address names).

    Rows that cannot be used are kept apart with their reasons, never dropped silently. What a kill, Ctrl-C or a
    full disk breaks off goes on with the same command.

    Example: recsys-dist prepare --config prepare_ml1m input.paths=ratings.dat output=data/ml1m

    Example: recsys-dist prepare --config mine.yaml output=data/mine --append tuesday.csv
    """
    from recsys_dist.preparation.cluster.local_workers import start_loading

    start = time.perf_counter()
    # Thousands of modules and hardly a cycle: to search them again and again takes a fifth of the time of imports.
    gc.set_threshold(OBJECTS_PER_SEARCH)
    # What this process imports meanwhile takes about as long. Before it is known whether the cluster is local, as
    # it mostly is: otherwise that process stands idle.
    start_loading()
    from recsys_dist.cli.show.model import print_dataset
    from recsys_dist.cli.show.progress import show_stages
    from recsys_dist.config import load_settings
    from recsys_dist.preparation.settings.prepare import PrepareConfig
    from recsys_dist.shipped_configs import find_config

    added = [f"input.paths={json.dumps(append)}", "append=true"] if append else []
    settings = load_settings(PrepareConfig, find_config(config), [*(overrides or ()), *added])
    # After the settings: a mistake in them is told before this has taken its second.
    from recsys_dist.preparation.prepare import prepare as prepare_dataset

    remarks: list[str] = []
    with show_stages() as progress:
        manifest = prepare_dataset(settings, progress, remarks.append)
    print_dataset(manifest, settings.output, time.perf_counter() - start, remarks)


def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|FILE",
            help="Prepared dataset, or input of one: a file, folder, archive, glob or URL.",
            show_default=False,
        ),
    ],
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Of a dataset also write one HTML page with figures: ratings, activity, density, balance.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Of a dataset check size and sha256 of every file first.")
    ] = False,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="CONFIG.yaml", help="Of a file also write the proposed settings."),
    ] = None,
) -> None:
    """Show what a prepared dataset holds, or what an input file seems to hold and which settings would read it.

    Of a dataset: counts, split, rows rejected and why, shards and their balance, files. Exit code 2 where --verify
    finds a file that is missing or damaged: the error names the first.

    Of a file, from a sample: packing, separator, columns and their likely roles, rows that could not be used, and
    a configuration for `prepare` to begin with. Of a folder, an archive or a glob the largest file is looked at,
    and the beginnings of others are held against it; folders named KEY=VALUE are columns.

    Example: recsys-dist inspect data/ml1m --verify --plot ml1m.html

    Example: recsys-dist inspect ratings.csv --output mine.yaml
    """
    from recsys_dist.cli.inspection import inspect as inspect_target

    require_writable(plot, "--plot")
    require_writable(output)
    if output is not None and output.exists():
        raise ConfigError(f"--output {output}: this file exists, and is not overwritten; give another name")
    inspect_target(target, plot, verify, output)
