"""`evaluate` and `export`: a merged model on held-out ratings, and as files for other programs.

Heavy modules are imported inside the command that needs them, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys_dist.cli.options import (
    CutsOption,
    DeviceOption,
    FamilyOption,
    ModelArgument,
    ModelsArgument,
    PerUserOption,
    SegmentsOption,
    VerifyOption,
    name_families,
    require_writable,
)

if TYPE_CHECKING:
    from recsys_dist.evaluation.settings import EvaluationSettings


def evaluate(
    model_dir: ModelsArgument,
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
            metavar="RATING",
            help="Ratings of at least this value are relevant; default: the train mean, and of data without "
            "ratings everything.",
        ),
    ] = None,
    ranking_users: Annotated[
        int, typer.Option(min=0, help="Rank all items for at most this many users, a fixed draw; 0 for none.")
    ] = 20_000,
    top: CutsOption = "10",
    segments: SegmentsOption = False,
    per_user: PerUserOption = None,
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
    """Measure RMSE and MAE on held-out ratings, for cold users and items too, and lists of unseen items, beside
    baselines.

    If the model has an uncertainty, also its calibration: coverage of its intervals, NLL and log-loss. Of several
    models, also the difference of each to the first, with its 95 % interval.

    Example: recsys-dist evaluate models/ml1m --dataset data/ml1m --output report.json

    Example: recsys-dist evaluate models/a models/b --dataset data/ml1m --top 5,10,20
    """
    from recsys_dist.evaluation.per_user import check_per_user_file
    from recsys_dist.evaluation.settings import EvaluationSettings, parse_tops

    require_writable(output)
    if per_user is not None:
        check_per_user_file(per_user)
    tops = parse_tops(top)
    settings = EvaluationSettings(split, relevant_from, ranking_users, tops, allow_train, allow_other_split)
    name_families(family)
    _evaluate(model_dir, dataset, settings, device, verify, output, per_user, segments)


def _evaluate(
    model_dirs: list[str],
    dataset: str,
    settings: EvaluationSettings,
    device: str,
    verify: bool,
    output: Path | None,
    per_user: Path | None,
    segments: bool,
) -> None:
    from recsys_dist.cli.show.evaluation import print_comparison, print_report
    from recsys_dist.evaluation.comparison import evaluate_folders
    from recsys_dist.evaluation.per_user import write_per_user

    comparison, evaluations = evaluate_folders(model_dirs, dataset, settings, device, verify)
    is_alone = len(model_dirs) == 1
    if output is not None:
        (comparison.reports[0] if is_alone else comparison).write(output)
    if per_user is not None:
        write_per_user(evaluations, per_user)
    if is_alone:
        print_report(comparison.reports[0], segments)
    else:
        print_comparison(comparison, segments)


def export(
    model_dir: ModelArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="parquet|faiss|hnsw|onnx|hub-folder",
            help="parquet: factors, or weights between items. faiss, hnsw: an index that answers as `recommend`. "
            "onnx: encoder and decoder of a user-AutoRec. hub-folder: the model with a model card.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="PATH", help="New folder; a local export to the same target is replaced."
        ),
    ],
    evaluation: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="With --to hub-folder: show the figures of this report.json, which `evaluate` wrote; default: "
            "report.json in MODEL_DIR, if there is one.",
        ),
    ] = None,
    without_users: Annotated[
        bool,
        typer.Option(
            "--without-users",
            help="With --to hub-folder: leave out all users and ratings; the copy folds everyone in.",
        ),
    ] = False,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    family: FamilyOption = None,
) -> None:
    """Write a model as files that other programs read: tables, an index, a network, or a folder for a hub.

    The output holds users and their train ratings, except with --to onnx and with --without-users.

    Example: recsys-dist export models/ml1m --to parquet --output exports/ml1m

    Example: recsys-dist export models/ml1m --to faiss --output exports/index
    """
    from recsys_dist.cli.show.exported import print_exported
    from recsys_dist.export.export import check_target
    from recsys_dist.export.export import export as write
    from recsys_dist.export.output import check_output
    from recsys_dist.inference.loading import load_predictor

    check_target(to, evaluation, without_users)
    check_output(output, to)
    name_families(family)
    print_exported(write(load_predictor(model_dir, device, verify), output, to, evaluation, without_users))
