"""The charts that are made of docs/figures.

They read tables as `benchmarks/run.py` writes them: rows and columns that a chart does not know are left out, so
that it also draws what another machine has measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from docs.site_builder.axes import Axis
from docs.site_builder.charts import Bars, Chart, Place, Series, kinds
from docs.site_builder.figures import Figure, FigureTable

OURS = re.compile(r"(?:mf|ials|ease|blend|item-AutoRec|user-AutoRec)\b")
TOO_LONG = re.compile(
    r", K=16|, AVX and OpenMP|, as| builds it|, defaults| SVD| of mf and .*| of ease, .*|, liked ratings.*"
    r"|, 64 factors|, best of .*|: once it is .*|`|training\.(?=memory_limit)|model\.(?=parallel)"
)
"""What names in a chart do without; the table beside it has it."""
ITERATIONS = re.compile(r"(\d+) iterations")


def peers() -> Chart:
    """Test RMSE against seconds, beside other programs."""
    return _errors(FigureTable.read("peers"), "27 million ratings: error against seconds")


def ml1m() -> Chart:
    """The same on MovieLens 1M."""
    return _errors(FigureTable.read("ml1m"), "MovieLens 1M: error against seconds")


def ndcg() -> Bars:
    """nDCG of lists on MovieLens 1M."""
    read = FigureTable.read("ml1m")
    figures = [one for one in read.figures if one.column == "nDCG" and not one.row.endswith("AutoRec")]
    rows = [(short(one.row), one.number, _kind(one.row), f"{one.number:.4f}") for one in figures]
    rows.sort(key=lambda row: row[1])
    return Bars("MovieLens 1M: nDCG of lists of ten", tuple(rows), _note(read, figures))


def growth() -> Chart:
    """Nanoseconds of a rating against ratings."""
    read = FigureTable.read("growth")
    axes = ("millions of train ratings", "ns of a train rating in an epoch of mf")
    return _lines(read, "Cost of a rating as ratings grow", r"([\d.]+) million", 1, axes, Axis.logarithmic)


def ranks() -> Chart:
    """Seconds of an epoch against ranks."""
    read = FigureTable.read("ranks")
    axes = ("ranks of one thread", "seconds of an epoch of mf")
    return _lines(read, "An epoch on one rank and more", r"(\d+) ranks?$", 1, axes, Axis.counting)


def memory() -> Chart:
    """Gigabytes of a rank against items."""
    read = FigureTable.read("memory")
    axes = ("millions of items", "GB of a rank of four")
    return _lines(read, "Memory as items grow", r"([\d,]+)$", 1e6, axes, Axis.logarithmic)


def _errors(read: FigureTable, title: str) -> Chart:
    """A point for each row that has an error and seconds; of several machines the first one."""
    series, used = list[Series](), list[Figure]()
    for row in read.row_names:
        cells = [one for one in read.figures if one.row == row]
        errors, seconds = ([one for one in cells if one.unit == unit] for unit in ("rating", "s"))
        if errors and seconds:
            used += [errors[0], seconds[0]]
            series.append(Series(short(row), _kind(row), ((seconds[0].number, errors[0].number),)))
    x, y = _values(series)
    axes = Axis.logarithmic(x), Axis.linear(y)
    return Chart(title, *axes, "seconds of training", "test RMSE", tuple(series), _note(read, used))


def _lines(
    read: FigureTable,
    title: str,
    rows: str,
    divisor: float,
    names: tuple[str, str],
    x_axis: Callable[[list[float]], Axis],
) -> Chart:
    """A line for each column; the rows are those that begin with a number, which is x."""
    used = [one for one in read.figures if re.match(rows, one.row)]
    columns = [column for column in read.columns if any(one.column == column for one in used)]
    series = tuple(
        Series(short(column), kind, _points(rows, divisor, [one for one in used if one.column == column]))
        for column, kind in zip(columns, kinds(len(columns)), strict=True)
    )
    x, y = _values(series)
    return Chart(title, x_axis(x), Axis.linear(y, from_zero=True), *names, series, _note(read, used))


def _points(rows: str, divisor: float, figures: Sequence[Figure]) -> tuple[Place, ...]:
    found = [(re.match(rows, one.row), one.number) for one in figures]
    return tuple(sorted((float(match[1].replace(",", "")) / divisor, y) for match, y in found if match))


def _values(series: Sequence[Series]) -> tuple[list[float], list[float]]:
    places = [place for one in series for place in one.points]
    return [x for x, _ in places], [y for _, y in places]


def short(name: str) -> str:
    """A row or a column as a chart calls it."""
    return ITERATIONS.sub(r"\1", TOO_LONG.sub("", name))


def _kind(name: str) -> str:
    return "ours" if OURS.match(name) else "other"


def _note(read: FigureTable, figures: Sequence[Figure]) -> str:
    """What was measured, and machine, commit and date of some figures."""
    machines = dict.fromkeys(one.machine for one in figures)
    commits = dict.fromkeys(f"{one.commit} ({one.date})" for one in figures)
    title = read.title.replace("`", "")
    return f"{title}. Machine: {', '.join(machines)}. Commit: {', '.join(commits)}."
