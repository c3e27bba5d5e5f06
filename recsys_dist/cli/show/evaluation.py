"""Results of `evaluate`: tables of errors, rankings, segments and comparisons, on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from recsys_dist.evaluation.comparison import ComparisonReport
    from recsys_dist.evaluation.report import Calibration, CutFigures, Errors, EvaluationReport

LIST_COLUMNS = {"recall": "recall", "ndcg": "nDCG", "mrr": "MRR", "hit_rate": "hit rate", "coverage": "coverage"}
"""The figures of lists that tables show; the report has all."""


def print_report(report: EvaluationReport, segments: bool = False) -> None:
    """Print the errors of the model and its baselines on the same ratings, and the ranking figures."""
    _print_tables([report], [report.model.kind], segments)


def print_comparison(comparison: ComparisonReport, segments: bool = False) -> None:
    """Print the tables of all models, and the differences of each to the first."""
    names = _names([report.model.url for report in comparison.reports])
    _print_tables(comparison.reports, names, segments)
    table = _table(f"Difference to {names[0]}", "figure", "difference", "95 % interval", "users")
    for one in comparison.comparisons:
        for figure, found in one.differences.items():
            interval = f"{_signed(found.low)} to {_signed(found.high)}"
            table.add_row(names[one.model], figure, _signed(found.difference), interval, f"{found.users:,}")
    new_console().print(table)


def _names(urls: Sequence[str]) -> list[str]:
    """The last parts of the URLs, or the URLs where these are not distinct."""
    short = [PurePosixPath(url).name for url in urls]
    return short if len(set(short)) == len(short) else list(urls)


def _print_tables(reports: Sequence[EvaluationReport], names: Sequence[str], segments: bool) -> None:
    console, first = new_console(), reports[0]
    console.print(_errors(reports, names))
    if first.ranking is not None:
        console.print(_lists(reports, names))
    for report, name in zip(reports, names, strict=True):
        for table in _segments(report, name) if segments else ():
            console.print(table)
        for line in _remarks(report):
            console.print(line if len(reports) == 1 else f"{name}: {line}", soft_wrap=True)


def _errors(reports: Sequence[EvaluationReport], names: Sequence[str]) -> Table:
    first = reports[0]
    title = f"{', '.join(names)} on the {first.split} ratings"
    table = _table(title, "RMSE", "MAE", "ratings", "seconds")
    baselines = {name: one for report in reports for name, one in report.baselines.items()}
    for name, one in baselines.items():
        table.add_row(name.replace("_", " "), *_of(one), f"{one.seconds:.2f}")
    for report, name in zip(reports, names, strict=True):
        table.add_row(name, *_of(report), f"{report.seconds.predict:.2f}")
        if report.predicts_ratings:
            table.add_row("  cold users", *_of(report.cold_users))
            table.add_row("  cold items", *_of(report.cold_items))
    return table


def _lists(reports: Sequence[EvaluationReport], names: Sequence[str]) -> Table:
    table = _table("Lists of unseen items", "top", *LIST_COLUMNS.values())
    baselines = {} if reports[0].ranking is None else reports[0].ranking.baselines
    for name, cuts in baselines.items():
        _add_cuts(table, name, cuts)
    for report, name in zip(reports, names, strict=True):
        _add_cuts(table, name, () if report.ranking is None else report.ranking.cuts)
    return table


def _add_cuts(table: Table, name: str, cuts: Sequence[CutFigures]) -> None:
    for cut in cuts:
        figures = [_figure(getattr(cut, figure)) for figure in LIST_COLUMNS]
        table.add_row(name, f"{cut.top}", *figures)


def _segments(report: EvaluationReport, name: str) -> Iterator[Table]:
    """One table of users and one of items, at the last cut; one of ratings if the model predicts them."""
    segments = report.segments
    tops = "" if report.ranking is None else f"; lists of {report.ranking.cuts[-1].top}"
    users = _table(
        f"{name} by ratings of the user that it knows{tops}", "RMSE", "ratings", "ranked", "recall", "nDCG"
    )
    for user in segments.users:
        figures = [_figure(user.cuts[-1].recall), _figure(user.cuts[-1].ndcg)] if user.cuts else ["-", "-"]
        counts = f"{user.errors.count:,}", f"{user.ranked_users:,}"
        users.add_row(_span(user.low, user.high), _figure(user.errors.rmse), *counts, *figures)
    yield users
    items = _table(f"{name} by train ratings of the item{tops}", "RMSE", "ratings", "items", "recall", "listed")
    for item in segments.items:
        figures = [_figure(item.cuts[-1].recall), _figure(item.cuts[-1].listed)] if item.cuts else ["-", "-"]
        counts = f"{item.errors.count:,}", f"{item.num_items:,}"
        items.add_row(_span(item.low, item.high), _figure(item.errors.rmse), *counts, *figures)
    yield items
    if segments.ratings:
        ratings = _table(f"{name} by rating", "RMSE", "MAE", "ratings")
        for one in segments.ratings:
            ratings.add_row(_span(one.low, one.high), *_of(one.errors))
        yield ratings


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _remarks(report: EvaluationReport) -> Iterator[str]:
    if not report.predicts_ratings:
        yield f"A model of kind {report.model.kind} ranks items and predicts no ratings, so it has no errors."
    if report.fold_in is not None:
        yield (
            f"Users were held out whole: {report.fold_in.users:,} of them are folded in from "
            f"{report.fold_in.ratings:,} ratings, a share of {report.fold_in.share:g}; their other ratings count."
        )
    if report.allowed.train:
        yield "The model was trained on these ratings: the errors say nothing about other ratings."
    if report.allowed.other_split:
        yield "The dataset has another split than the one that the model was trained on."
    if report.trained_on.count:
        yield (
            f"Left out: {report.trained_on.count:,} ratings of pairs that the model was trained on "
            f"(RMSE on these: {_figure(report.trained_on.rmse)})"
        )
    if report.uncertainty is not None:
        yield _calibration(report.uncertainty)
    ranking = report.ranking
    if ranking is not None:
        relevant = (
            "all held-out items" if ranking.relevant_from is None else f"ratings from {ranking.relevant_from:g}"
        )
        yield (
            f"Lists for {ranking.users:,} of {ranking.eligible_users:,} users; relevant: {relevant} "
            f"({ranking.seconds:.1f} s)"
        )


def _calibration(uncertainty: Calibration) -> str:
    nominal = " / ".join(f"{100 * float(share):g}" for share in uncertainty.coverage)
    covered = " / ".join("-" if share is None else f"{100 * share:.1f}" for share in uncertainty.coverage.values())
    classes = "" if uncertainty.log_loss is None else f", log-loss {uncertainty.log_loss:.4f}"
    return f"Intervals of {nominal} % contain {covered} % of the ratings; NLL {_figure(uncertainty.nll)}{classes}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table


def _of(row: Errors) -> tuple[str, str, str]:
    return _figure(row.rmse), _figure(row.mae), f"{row.count:,}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
