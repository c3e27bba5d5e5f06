"""How a blend looks in a terminal: a row for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.blending.blend import Blended

FIGURES = {"lists": "nDCG@10", "ratings": "RMSE"}


def print_blend(blended: Blended, output: str) -> None:
    """Print the weight of each model, and what each is worth alone and in the blend if that was measured."""
    console, fitted, figure = new_console(soft_wrap=True), blended.fitted, FIGURES[blended.goal]
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    table.add_column("weight", justify="right")
    table.add_column("" if fitted.alone is None else figure, justify="right")
    alone = [""] * len(blended.models) if fitted.alone is None else [f"{one:.4f}" for one in fitted.alone]
    for url, weight, one in zip(blended.models, fitted.weights, alone, strict=True):
        table.add_row(Text(url), f"{weight:.4g}", one)
    if fitted.blend is not None:
        table.add_row("the blend", "", f"{fitted.blend:.4f}")
    console.print(table)
    if fitted.judged_by is not None:
        console.print(f"{figure} on {fitted.judged_by}, by which the weights were fitted", markup=False)
    console.print(f"wrote {output}", markup=False, highlight=False)
