"""The figures of a prepared dataset: ratings, activity, shards."""

from __future__ import annotations

import numpy as np
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, SPLITS
from recsys_dist.report.dataset.dataset_overview import DatasetOverview, balance
from recsys_dist.report.svg import MUTED, TRAIN, VALID, drawing

SIDE_COLORS = {"users": TRAIN, "items": VALID}
SPLIT_COLORS = {"train": TRAIN, "valid": VALID, "test": MUTED}


def histogram(overview: DatasetOverview) -> str:
    """Ratings by value, splits stacked."""

    def draw(figure: Figure, is_narrow: bool) -> None:  # noqa: ARG001 - the same at both widths
        axes = figure.subplots()
        values = np.array(overview.ratings.values)
        base = np.zeros(len(values))
        width = 0.8 * float(np.diff(values).min()) if len(values) > 1 else 0.8
        for split in SPLITS:
            counter = overview.ratings.by_split[split]
            heights = np.array([counter[value] for value in values.tolist()], np.float64)
            if heights.any():
                axes.bar(values, heights, width, base, color=SPLIT_COLORS[split], label=split)
            base += heights
        axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.set_xlabel("rating")
        axes.set_ylabel("ratings")
        axes.legend(ncols=len(SPLITS), loc="lower right", bbox_to_anchor=(1.0, 1.0))

    return drawing(draw, "histogram", 3.0)


def activity(overview: DatasetOverview) -> str:
    """Train ratings of users and of items by their rank, both axes logarithmic."""

    def draw(figure: Figure, is_narrow: bool) -> None:  # noqa: ARG001 - the same at both widths
        axes = figure.subplots()
        for side in SIDES:
            curve = overview.activity[side]
            shown = curve.num_ratings > 0
            axes.plot(curve.rank[shown], curve.num_ratings[shown], color=SIDE_COLORS[side], label=side)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rank, from the most active")
        axes.set_ylabel("train ratings")
        axes.legend()

    return drawing(draw, "activity", 3.4)


def density(overview: DatasetOverview) -> str:
    """The share of pairs that are rated, by user shard and item shard, on a logarithmic colour scale."""

    def draw(figure: Figure, is_narrow: bool) -> None:
        axes = figure.subplots()
        axes.grid(visible=False)
        shown: NDArray[np.float64] = np.ma.masked_less_equal(np.nan_to_num(overview.density_ST), 0.0)
        norm = LogNorm(shown.min(), shown.max()) if shown.count() else None  # type: ignore[attr-defined]
        image = axes.imshow(shown, norm=norm, cmap="viridis", aspect="auto", interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, location="bottom" if is_narrow else "right")
        bar.set_label("share of pairs rated")
        _whole_numbers(axes.xaxis)
        _whole_numbers(axes.yaxis)
        axes.set_xlabel("item shard")
        axes.set_ylabel("user shard")

    return drawing(draw, "density", 4.2)


def shard_balance(dataset: Dataset) -> str:
    """Train ratings of each shard as a multiple of their mean, both sides."""

    def draw(figure: Figure, is_narrow: bool) -> None:  # noqa: ARG001 - the same at both widths
        for axes, side in zip(figure.subplots(1, 2, sharey=True), SIDES, strict=True):
            heights = balance(dataset.shards(side))
            axes.bar(range(len(heights)), heights, color=SIDE_COLORS[side])
            axes.axhline(1.0, color=MUTED, linewidth=1, linestyle=":")
            axes.set_xlabel(f"{side[:-1]} shard")
            _whole_numbers(axes.xaxis)
        figure.axes[0].set_ylabel("ratings / mean")

    return drawing(draw, "balance", 2.6)


def _whole_numbers(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
