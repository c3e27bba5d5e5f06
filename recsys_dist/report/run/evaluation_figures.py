"""The figures of an evaluation: errors by segment, calibration, lists beside the baselines."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recsys_dist.evaluation.report import (
    Calibration,
    ItemSegment,
    Ranking,
    RatingSegment,
    SegmentFigures,
    UserSegment,
)
from recsys_dist.report.svg import MUTED, TRAIN, VALID, drawing

AnySegment = UserSegment | ItemSegment | RatingSegment


def errors_by_segment(segments: SegmentFigures, rmse: float) -> str:
    """RMSE by the value of the rating, the activity of the user and the popularity of the item.

    The dotted line is the RMSE over all ratings.
    """
    panels: list[tuple[str, Sequence[AnySegment]]] = [
        ("rating", segments.ratings),
        ("ratings of the user", segments.users),
        ("train ratings of the item", segments.items),
    ]
    shown = [(label, parts) for label, parts in panels if parts]

    def draw(figure: Figure, is_narrow: bool) -> None:
        axes_P = (
            figure.subplots(len(shown), 1, squeeze=False)
            if is_narrow
            else figure.subplots(1, len(shown), squeeze=False)
        )
        for axes, (label, parts) in zip(axes_P.flat, shown, strict=True):
            _bars(axes, parts)
            axes.axhline(rmse, color=MUTED, linewidth=1, linestyle=":")
            axes.set_xlabel(label)
            axes.set_ylabel("RMSE")

    return drawing(draw, "segments", 2.9)


def _bars(axes: Axes, segments: Sequence[AnySegment]) -> None:
    heights = [float("nan") if one.errors.rmse is None else one.errors.rmse for one in segments]
    axes.bar(range(len(heights)), heights, 0.75, color=TRAIN)
    names = [f"{one.low:g}" if one.low == one.high else f"{one.low:g}–" for one in segments]
    step = 1 + (len(names) - 1) // 8
    axes.set_xticks(range(0, len(names), step), names[::step])
    axes.grid(visible=False, axis="x")


def calibration(figures: Calibration) -> str:
    """The share of held-out ratings within intervals of each coverage; the dotted line is what they promise."""
    points = [(float(promised), share) for promised, share in figures.coverage.items() if share is not None]

    def draw(figure: Figure, is_narrow: bool) -> None:  # noqa: ARG001 - the same at both widths
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=":")
        axes.plot([100 * one for one, _ in points], [100 * share for _, share in points], color=TRAIN, marker="o")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("coverage of the interval, %")
        axes.set_ylabel("ratings within, %")

    return drawing(draw, "calibration", 2.9)


def lists_beside_baselines(ranking: Ranking, name: str) -> str:
    """nDCG at the first cut: the baselines and the model."""
    rows = [*((whose.replace("_", " "), cuts[0].ndcg) for whose, cuts in ranking.baselines.items()),
            (name, ranking.cuts[0].ndcg)]  # fmt: skip

    def draw(figure: Figure, is_narrow: bool) -> None:  # noqa: ARG001 - the same at both widths
        axes = figure.subplots()
        lengths = [0.0 if ndcg is None else ndcg for _, ndcg in rows]
        bars = axes.barh([whose for whose, _ in rows], lengths, 0.6, color=[*[MUTED] * (len(rows) - 1), VALID])
        axes.bar_label(bars, [f" {length:.4f}" for length in lengths])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.25 * max([*lengths, 1e-9]))
        axes.set_xlabel(f"nDCG@{ranking.cuts[0].top}")
        axes.grid(visible=False, axis="y")

    return drawing(draw, "lists", 0.7 + 0.4 * len(rows))
