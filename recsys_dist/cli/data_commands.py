"""`prepare` and `inspect`: from rating files to a prepared dataset, and what both contain.

Heavy modules are imported inside the command that needs them, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.cli.options import ConfigOption, FamilyOption, Overrides, name_families, require_writable
from recsys_dist.errors import ConfigError

OBJECTS_PER_SEARCH = 100_000
"""New objects after which Python searches for reference cycles."""


def prepare(
    config: ConfigOption,
    overrides: Overrides = None,
    append: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Add this file, folder, glob or URL to the dataset at `output`; repeatable. The same as "
            "append=true input.paths=FILE.",
        ),
    ] = None,
) -> None:
    """Turn rating files into a prepared dataset, on a local Dask cluster or the one at cluster.address.

    Unusable rows are set aside with their reasons, never dropped silently. After a kill, Ctrl-C or a full disk the
    same command continues.

    Example: recsys-dist prepare --config prepare_ml1m input.paths=ratings.dat output=data/ml1m

    Example: recsys-dist prepare --config mine.yaml output=data/mine --append tuesday.csv
    """
    from recsys_dist.preparation.cluster.local_workers import start_loading

    start = time.perf_counter()
    # Imports make many objects and hardly a cycle: repeated searches take a fifth of the import time.
    gc.set_threshold(OBJECTS_PER_SEARCH)
    # The process that workers are forked from imports while this one does, in about the same time. It starts
    # before the settings say whether the cluster is local, which it mostly is; otherwise it stays idle.
    start_loading()
    from recsys_dist.cli.show.model import print_dataset
    from recsys_dist.cli.show.progress import show_stages
    from recsys_dist.config import load_settings
    from recsys_dist.preparation.settings.prepare import PrepareConfig
    from recsys_dist.shipped_configs import find_config

    added = [f"input.paths={json.dumps(append)}", "append=true"] if append else []
    settings = load_settings(PrepareConfig, find_config(config), [*(overrides or ()), *added])
    # After the settings, so that a mistake in them is reported before this import of a second.
    from recsys_dist.preparation.prepare import prepare as prepare_dataset

    remarks: list[str] = []
    with show_stages() as progress:
        manifest = prepare_dataset(settings, progress, remarks.append)
    print_dataset(manifest, settings.output, time.perf_counter() - start, remarks)


def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|RUN_DIR|MODEL_DIR|FILE",
            help="Prepared dataset, training run, model, or rating files: a file, folder, archive, glob or URL.",
            show_default=False,
        ),
    ],
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="For a dataset, also write an HTML page of figures: ratings, activity, density, balance.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="For a dataset or a model, check size and sha256 of every file first.")
    ] = False,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="CONFIG.yaml", help="For input, also write the proposed settings."),
    ] = None,
    family: FamilyOption = None,
) -> None:
    """Show what a prepared dataset, a training run or a model contains, or what an input file seems to contain and
    which settings read it.

    For a dataset: counts, split, rejected rows and reasons, shards and their balance, files. If --verify finds a
    missing or damaged file, the exit code is 2 and the error names the first. For a run: status, epochs, the best
    one. For a model: family, sizes, figures.

    For an input file, from a sample: packing, separator, columns and their likely roles, unusable rows, and a
    first configuration for `prepare`. In a folder, an archive or a glob the largest file is examined, and the
    beginnings of other files are compared with it; folders named KEY=VALUE are columns.

    Example: recsys-dist inspect data/ml1m --verify --plot ml1m.html

    Example: recsys-dist inspect ratings.csv --output mine.yaml
    """
    from recsys_dist.cli.inspection import inspect as inspect_target

    require_writable(plot, "--plot")
    require_writable(output)
    if output is not None and output.exists():
        raise ConfigError(f"--output {output}: this file exists and is not overwritten; give another name")
    name_families(family)
    inspect_target(target, plot, verify, output)
