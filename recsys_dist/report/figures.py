"""The figures of a run as SVG text to stand inside an HTML page, which gives them its colours and its font.

The same figures give the same bytes: no date, no random ids. Ids begin with the name of the figure, so that
several stand in one page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from recsys_dist.report.run_record import RunRecord

# matplotlib knows no CSS variables: it draws with these colours, which become variables in its output.
INK, MUTED, GRID, TRAIN, VALID = "#000001", "#000002", "#000003", "#000004", "#000005"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", TRAIN: "--train", VALID: "--valid"}
# Upon matplotlib's own defaults, not the person's, so that pages are alike everywhere.
STYLE = {
    "svg.hashsalt": "recsys-dist",
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
}


def learning_curves(record: RunRecord) -> str:
    """Train and validation RMSE by epoch, the best epoch marked."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        axes = figure.subplots()
        _line(axes, record, [epoch.train_rmse for epoch in record.epochs], TRAIN, "train", linestyle="--")
        if record.best is not None:
            _line(axes, record, [epoch.valid_rmse for epoch in record.epochs], VALID, "validation")
            _mark(axes, *record.best)
        axes.set_ylabel("RMSE")
        axes.set_xlabel("epoch")
        axes.legend()
        return _svg(figure, "learning")


def speed(record: RunRecord) -> str:
    """Seconds and ratings per second by epoch."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(7.6, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _line(left, record, [epoch.seconds for epoch in record.epochs], TRAIN)
        _line(right, record, [epoch.ratings_per_s for epoch in record.epochs], TRAIN)
        right.yaxis.set_major_formatter(EngFormatter(sep=" "))
        for axes, label in ((left, "seconds"), (right, "ratings / s")):
            axes.set_ylim(bottom=0)
            axes.set_ylabel(label)
            axes.set_xlabel("epoch")
        return _svg(figure, "speed")


def _line(
    axes: Axes,
    record: RunRecord,
    values: Sequence[float | None],
    color: str,
    label: str | None = None,
    linestyle: str = "-",
) -> None:
    epochs = [epoch.epoch for epoch in record.epochs]
    gaps = [float("nan") if value is None else value for value in values]
    marker = "o" if len(epochs) <= 40 else None
    axes.plot(epochs, gaps, color=color, label=label, linestyle=linestyle, marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlim(0.5, max(epochs) + 0.5)


def _mark(axes: Axes, epoch: int, rmse: float) -> None:
    axes.axvline(epoch, color=VALID, linewidth=1, linestyle=":")
    axes.plot(
        [epoch], [rmse], color=VALID, marker="o", markersize=10, fillstyle="none", linestyle="none",
        label=f"best: {rmse:.4f} in epoch {epoch}",
    )  # fmt: skip


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub("|".join(VARIABLES), lambda match: f"var({VARIABLES[match.group()]})", svg)
