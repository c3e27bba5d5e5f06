"""`evaluate`: a merged model on held-out ratings.

Heavy modules are imported inside the command that needs them, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.cli.options import (
    DeviceOption,
    FamilyOption,
    ModelArgument,
    VerifyOption,
    name_families,
    require_writable,
)


def evaluate(
    model_dir: ModelArgument,
    dataset: Annotated[str, typer.Option(metavar="DATASET", help="Prepared dataset with the held-out ratings.")],
    split: Annotated[
        str, typer.Option(help="Split to evaluate: test or valid; train only with --allow-train.")
    ] = "test",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE", help="Also write the report as JSON, to a local file."),
    ] = None,
    relevant_from: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            metavar="RATING", help="Ratings of at least this value are relevant; default: the train mean."
        ),
    ] = None,
    ranking_users: Annotated[
        int, typer.Option(min=0, help="Rank all items for at most this many users, a fixed draw; 0 for none.")
    ] = 20_000,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    allow_train: Annotated[
        bool, typer.Option("--allow-train", help="With --split train: the error on the train ratings.")
    ] = False,
    allow_other_split: Annotated[
        bool,
        typer.Option(
            "--allow-other-split",
            help="Evaluate on a dataset with other ratings, or another split, than the dataset of training. Pairs "
            "that the model was trained on are left out.",
        ),
    ] = False,
    family: FamilyOption = None,
) -> None:
    """Measure RMSE and MAE on held-out ratings, for cold users and items too, beside two baselines; and the top
    10.

    If the model has an uncertainty, also its calibration: coverage of its intervals, NLL and log-loss.

    Example: recsys-dist evaluate models/ml1m --dataset data/ml1m --output report.json
    """
    from recsys_dist.cli.show.model import print_report
    from recsys_dist.evaluation.evaluate import evaluate as evaluate_model

    require_writable(output)
    name_families(family)
    report = evaluate_model(
        model_dir, dataset, split, relevant_from, ranking_users, device, verify, allow_train, allow_other_split
    )
    if output is not None:
        report.write(output)
    print_report(report)
