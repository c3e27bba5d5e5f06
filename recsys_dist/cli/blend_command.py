"""`blend`: one model from several.

Heavy modules are imported inside the command, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import Annotated, Optional

import typer

from recsys_dist.cli.options import DeviceOption, FamilyOption, name_families
from recsys_dist.errors import ConfigError


def blend(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL_DIR...", help="Model folders, two or more.", show_default=False)
    ],
    dataset: Annotated[
        str, typer.Option(metavar="DATASET", help="Prepared dataset that all models were trained on.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="MODEL_DIR", help="New folder for the blend.")],
    goal: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="lists|ratings",
            help="lists: weights with the largest nDCG@10. ratings: least squares.",
        ),
    ] = "lists",
    weights: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NUMBERS", help="Weights of your own, one for each model, such as 1,0.5."),
    ] = None,
    device: DeviceOption = "cpu",
    family: FamilyOption = None,
) -> None:
    """Blend models into one: a weighted sum that predicts, recommends and folds in like any other model.

    The weights are fitted on the validation ratings. If the dataset has none, each model is trained once more
    without a twentieth of the train ratings, by which the weights are judged; --weights saves that. Test ratings
    are never read.

    Example: recsys-dist blend models/ease models/ials models/mf --dataset data/ml1m --output models/blend
    """
    from recsys_dist.blending.blend import blend as blend_models
    from recsys_dist.cli.show.blend import print_blend

    name_families(family)
    blended = blend_models(models, dataset, output, goal, _numbers(weights), device, typer.echo)
    print_blend(blended, output)


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weights {text}: give numbers with commas between them, such as 1,0.5") from None
