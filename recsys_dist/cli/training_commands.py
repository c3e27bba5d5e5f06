"""`train`, `sweep`, `merge`, `report`, `verify-parity`: from a prepared dataset to one model, and reports on runs.

Heavy modules are imported inside the command that needs them, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.cli.options import (
    ConfigOption,
    FamilyOption,
    Overrides,
    RunArgument,
    RunsArgument,
    name_families,
    require_writable,
)
from recsys_dist.errors import ConfigError

EXIT_SAVED_RUN_AGAIN = 75


def train(config: ConfigOption, overrides: Overrides = None) -> None:
    """Train a model, or continue the run in `run_dir`.

    This command runs one process, on the CPU or one GPU. On several ranks:

    torchrun --nproc_per_node=4 -m recsys_dist train --config mf dataset=data/ml1m run_dir=runs/ml1m

    On several nodes: launch/train_node.sh, or launch/slurm and launch/k8s, which use it.

    On Ctrl-C or SIGTERM the state is saved after the current step (for EM: the current epoch), and exit code 75
    means that the same command continues. A second Ctrl-C ends at once with 130 and keeps what was saved before.
    RUN_DIR/status.json holds the state of a run, and the reason if it failed.
    """
    from recsys_dist.cli.show.model import print_outcome
    from recsys_dist.distributed.elastic import report_errors
    from recsys_dist.process.preemption import as_command
    from recsys_dist.shipped_configs import find_config

    with report_errors(), as_command():
        from recsys_dist.training.config import load_training
        from recsys_dist.training.run import train as train_model

        settings = load_training(find_config(config), overrides or ())
        outcome = train_model(settings)
    if os.environ.get("RANK", "0") == "0":
        print_outcome(outcome.name, settings.run_dir)
    if outcome.name == "PREEMPTED":
        raise typer.Exit(EXIT_SAVED_RUN_AGAIN)


def sweep(
    config: ConfigOption,
    space: Annotated[
        Path,
        typer.Option(
            metavar="FILE.yaml",
            help="The settings to search: a range or a list of values for each key, such as "
            "model.factors: {int: [4, 64], log: true}.",
        ),
    ],
    study: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the study and its trials.")],
    overrides: Overrides = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Trials of the study, in all.")] = 20,
    jobs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1, metavar="J", help="Trials side by side, which divide the cores; default: one for each core."
        ),
    ] = None,
    goal: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--for",
            metavar="lists|ratings",
            help="ratings: the lowest validation RMSE. lists: the highest nDCG@10 on the validation ratings. "
            "Default: what the kind of model is made for.",
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune",
            help="Stop trials whose validation RMSE is worse than that of most others after as many epochs.",
        ),
    ] = True,
) -> None:
    """Search settings: many trainings as an Optuna study, judged by validation ratings. Needs the extra `sweep`.

    Each trial is a run folder in the study, of a training on the CPU; `run_dir` is not needed. The same command
    continues a study that was stopped (exit code 75) or killed: trials that had begun resume. With a larger
    --trials it goes on.

    Example: recsys-dist sweep --config ials --space space.yaml --study studies/ials dataset=data/ml1m --trials 30
    """
    from recsys_dist.cli.show.sweep import print_sweep
    from recsys_dist.process.preemption import as_command
    from recsys_dist.shipped_configs import find_config
    from recsys_dist.sweeping.space import Space
    from recsys_dist.sweeping.sweep import sweep as run_sweep
    from recsys_dist.training.config import load_training

    # `run_dir` is required, and each trial has its own.
    settings = load_training(find_config(config), [*(overrides or ()), "run_dir=unused"])
    with as_command():
        wanted = Space.read(space, settings)
        result = run_sweep(settings, wanted, study, trials, jobs, goal, prune, typer.echo)
    print_sweep(result, study)
    if result.is_stopped:
        raise typer.Exit(EXIT_SAVED_RUN_AGAIN)


def merge(
    run_dir: RunArgument,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="MODEL_DIR", help="Folder to create for the model.")
    ],
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="N",
            help="Checkpoint to merge, by its epochs; default: the best by validation RMSE, else the newest.",
        ),
    ] = None,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Where the dataset of the run is, if it has moved. It must be the same dataset."),
    ] = None,
    family: FamilyOption = None,
) -> None:
    """Merge the sharded checkpoint of a run into one model folder that needs nothing else.

    The tables of kind mf are the same, byte for byte, for any number of training ranks.

    Example: recsys-dist merge runs/ml1m --output models/ml1m
    """
    from recsys_dist.cli.show.model import print_model
    from recsys_dist.cli.show.progress import show_stages
    from recsys_dist.merging import merge as merge_checkpoint

    name_families(family)
    with show_stages() as progress:
        manifest = merge_checkpoint(run_dir, output, step=step, dataset_url=dataset, progress=progress)
    print_model(manifest, output)


def report(
    run_dirs: RunsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="HTML file to write.")],
    evaluation: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Also show this report.json, which `evaluate` wrote for a run's model; once for each run.",
        ),
    ] = None,
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="MODEL_DIR", help="The model merged from the run: also show its lists for a few users."
        ),
    ] = None,
    plan: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Also show this plan, which `plan --output` wrote, beside the outcome; default: the one that "
            "training wrote, without the time of an epoch.",
        ),
    ] = None,
    family: FamilyOption = None,
) -> None:
    """Write one HTML page about a run, or one that compares several.

    Of one run: learning curves, what its search tried, speed, errors and lists beside the baselines, settings.
    Of several: outcomes, learning curves, the settings that differ. The page is self-contained, to view, to send
    or to print.

    Example: recsys-dist report runs/ml1m --evaluation report.json --output report.html

    Example: recsys-dist report runs/mf runs/mf64 --output comparison.html
    """
    from recsys_dist.cli.show.model import print_page
    from recsys_dist.report.report import write_comparison, write_report

    require_writable(output)
    name_families(family)
    evaluations = evaluation or []
    if len(run_dirs) > 1:
        if model is not None or plan is not None:
            raise ConfigError("--model and --plan are about one run; give one RUN_DIR")
        write_comparison(run_dirs, output, evaluations)
    else:
        if len(evaluations) > 1:
            raise ConfigError("--evaluation is given more than once, and there is one RUN_DIR")
        write_report(run_dirs[0], output, next(iter(evaluations), None), plan, model)
    print_page(output)


def verify_parity(
    config: ConfigOption,
    overrides: Overrides = None,
    ranks: Annotated[
        str,
        typer.Option(metavar="N,N,...", help="Numbers of ranks to train on; a repeated number runs twice."),
    ] = "1,2,4",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 2,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            help="Relative difference of a model tensor, by its norm, that counts as equal; 0: every bit.",
        ),
    ] = 0.0,
) -> None:
    """Train on several numbers of ranks of this machine, and check that the model is the same each time.

    Each training starts from scratch in a temporary folder, on the CPU; `run_dir` is neither needed nor touched.
    Exit code 2 if a model differs: the error names the first tensor that does.

    Example: recsys-dist verify-parity --config mf --ranks 1,2,4 dataset=data/ml1m
    """
    from recsys_dist.cli.show.parity import print_parity
    from recsys_dist.cli.show.progress import show_stages
    from recsys_dist.shipped_configs import find_config
    from recsys_dist.training.config import load_training
    from recsys_dist.training.parity import parse_world_sizes, require_parity
    from recsys_dist.training.parity import verify_parity as verify

    world_sizes = parse_world_sizes(ranks)
    # `run_dir` is required, and most configurations leave it to the command line.
    settings = load_training(find_config(config), [*(overrides or ()), "run_dir=unused"])
    with show_stages() as progress:
        runs = verify(settings, world_sizes, epochs, progress)
    print_parity(runs, tolerance)
    require_parity(runs, tolerance, settings.family)
