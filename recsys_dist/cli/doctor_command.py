"""`doctor`: whether this machine and installation can train, and what to do where not."""
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import Annotated, Optional

import typer

EXIT_PROBLEM = 1


def doctor(
    dataset: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation at run time
        typer.Option(metavar="DATASET", help="Also check that this dataset can be read and fits the memory."),
    ] = None,
    run_dir: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation at run time
        typer.Option(metavar="RUN_DIR", help="Also check that a training can write to this folder."),
    ] = None,
) -> None:
    """Examine this machine and installation: versions, threads, cores, memory, GPUs, disks, S3 credentials, gloo.

    One line each: ok, note or problem, and what to do. Two processes really exchange over each network interface,
    which takes some seconds. Nothing is changed. Credentials are never printed. Exit code 1 if there is a problem.

    Example: recsys-dist doctor --dataset data/ml1m --run-dir runs/ml1m
    """
    from recsys_dist.cli.show.findings import print_finding, print_summary
    from recsys_dist.doctor.doctor import examine

    levels = []
    for finding in examine(dataset, run_dir):
        print_finding(finding)
        levels.append(finding.level)
    print_summary(levels)
    if "problem" in levels:
        raise typer.Exit(EXIT_PROBLEM)
