"""The chart of a search: one line for each trial, by the figure that judged it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recsys_dist.report.run.run_record import Trial
from recsys_dist.report.svg import MUTED, TRAIN, VALID, drawing


def trials_chart(trials: Sequence[Trial]) -> str:
    """A dot for each trial, numbered from the top; a bar is what it had to pass. Kept trials are filled."""
    shown = [(number, trial, trial.value) for number, trial in enumerate(trials, 1) if trial.value is not None]

    def draw(figure: Figure, is_narrow: bool) -> None:  # noqa: ARG001 - the same at both widths
        axes = figure.subplots()
        for number, trial, value in shown:
            color = VALID if trial.is_kept else TRAIN
            face = color if trial.is_kept else "none"
            axes.plot([value], [number], marker="o", markersize=7, color=color, markerfacecolor=face)
            if trial.limit is not None:
                axes.plot([trial.limit], [number], marker="|", markersize=14, markeredgewidth=1.5, color=MUTED)
        axes.set_ylim(len(trials) + 0.6, 0.4)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_ylabel("trial")
        axes.set_xlabel(trials[0].figure)

    return drawing(draw, "trials", 1.0 + 0.2 * max(3, len(trials)))
