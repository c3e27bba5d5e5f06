"""`predict`: the ratings of all pairs in a file.

Heavy modules are imported inside the command that needs them, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from recsys_dist.cli.options import (
    DeviceOption,
    FamilyOption,
    ModelArgument,
    VerifyOption,
    name_families,
    require_writable,
    typed,
)


def predict(
    model_dir: ModelArgument,
    pairs: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS",
            help="File with a user and an item in each row: .csv, .tsv (with a header, also packed) or .parquet.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Local file of the predictions: .csv, .tsv or .parquet."
        ),
    ],
    user_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the user ids.")] = "user_id",
    item_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the item ids.")] = "item_id",
    std: Annotated[
        bool, typer.Option("--std", help="Also write the standard deviation of each rating, noise included.")
    ] = False,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    family: FamilyOption = None,
) -> None:
    """Predict the rating of every pair of a user and an item in a file of any length.

    The output has all columns of the file, and in addition: predicted, the rating (score for a model that ranks);
    std, if wanted; known_user and known_item, whether the model was trained on ratings of them. Otherwise the
    prediction comes from the average.

    Example: recsys-dist predict models/ml1m pairs.csv --output predicted.csv
    """
    from recsys_dist.api.model import load_model
    from recsys_dist.cli.show.lists import print_predicted
    from recsys_dist.cli.show.progress import show_stages
    from recsys_dist.inference.tables.predict import predict_file
    from recsys_dist.inference.tables.writing import check_table_file

    require_writable(output)
    check_table_file(output)
    name_families(family)
    model = load_model(model_dir, device, verify)
    started = time.monotonic()
    columns = typed(user_column), typed(item_column)
    with show_stages() as progress:
        counts = predict_file(model.predictor, pairs, columns, output, std, progress)
    print_predicted(output, counts, time.monotonic() - started)
