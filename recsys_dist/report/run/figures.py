"""The figures of a run: learning curves and speed."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from recsys_dist.report.run.run_record import RunRecord
from recsys_dist.report.svg import GRID, MUTED, TRAIN, VALID, drawing


def learning_curves(record: RunRecord) -> str:
    """Train and validation RMSE by epoch, the search shaded and the best epoch marked."""

    def draw(figure: Figure, is_narrow: bool) -> None:  # noqa: ARG001 - the same at both widths
        axes = figure.subplots()
        _shade_search(axes, record)
        _line(axes, record, [epoch.train_rmse for epoch in record.epochs], TRAIN, "train", linestyle="--")
        if record.is_validated:
            _line(axes, record, [epoch.valid_rmse for epoch in record.epochs], VALID, "validation")
        if record.best is not None:
            _mark(axes, *record.best)
        axes.set_ylabel("RMSE")
        axes.set_xlabel("epoch")
        axes.legend()

    return drawing(draw, "learning", 3.4)


def speed(record: RunRecord) -> str:
    """Seconds and ratings per second by epoch."""

    def draw(figure: Figure, is_narrow: bool) -> None:
        first, second = figure.subplots(2, 1) if is_narrow else figure.subplots(1, 2)
        _line(first, record, [epoch.seconds for epoch in record.epochs], TRAIN)
        _line(second, record, [epoch.ratings_per_s for epoch in record.epochs], TRAIN)
        second.yaxis.set_major_formatter(EngFormatter(sep=" "))
        for axes, label in ((first, "seconds"), (second, "ratings / s")):
            axes.set_ylim(bottom=0)
            axes.set_ylabel(label)
            axes.set_xlabel("epoch")

    return drawing(draw, "speed", 2.6)


def _shade_search(axes: Axes, record: RunRecord) -> None:
    searching = [epoch.epoch for epoch in record.epochs if epoch.searching]
    if searching:
        axes.axvspan(min(searching) - 0.5, max(searching) + 0.5, color=GRID, alpha=0.5, linewidth=0)
        axes.text(
            min(searching), 0.98, "search", color=MUTED, fontsize=9, va="top", transform=axes.get_xaxis_transform()
        )


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
