"""Draw docs/images/*.svg: `python -m docs.site_builder.pictures`.

pipeline.svg   what the commands make of what
results.svg    errors against seconds beside other programs; lists beside other models (docs/figures)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from docs.site_builder.figures import DOCS, Figure, FigureTable
from docs.site_builder.svg import arrow, box, dot, line, picture, text

IMAGES = DOCS / "images"
STAGES = (
    ("rating files", "", "CSV, JSON, Parquet"),
    ("dataset", "prepare", "checked, split, hashed"),
    ("run", "train", "on many processes"),
    ("model", "merge", "one folder"),
    ("ratings, lists", "recommend", "and their errors"),
)
WIDE, HIGH, GAP = 150, 58, 84
BARS = {
    "most rated": "most rated",
    "implicit 0.7.3, ALS, 64 factors, best of 5, 10 and 15 epochs": "implicit, ALS",
    "EASE in NumPy, liked ratings, lambda 500": "EASE in NumPy",
    "ials": "ials",
    "ease": "ease",
    "blend for lists of ease, ials and mf": "blend of three",
}
"""Rows of the table `lists`, and what the picture calls them."""
OURS = {"ials", "ease", "blend of three"}
PROGRAMS = {
    "mf, K=16, on the way": "mf, on the way",
    "mf, K=16, at its end": "mf, at its end",
    "LIBMF, 40 iterations": "LIBMF",
    "Surprise": "Surprise",
    "cmfrec": "cmfrec",
    "Spark ALS": "Spark ALS",
}

LABELLED_AT_LEFT = {"cmfrec", "Spark ALS"}


def pipeline() -> str:
    """From rating files to ratings and lists."""
    width = len(STAGES) * WIDE + (len(STAGES) - 1) * GAP + 32
    return picture(width, 90, "rating files, prepare, train, merge, predict and recommend", _stages())


def _stages() -> Iterator[str]:
    for number, (name, command, about) in enumerate(STAGES):
        left = 16 + number * (WIDE + GAP)
        yield box(left, 16, WIDE, HIGH)
        yield text(left + WIDE / 2, 41, name, "bold", "middle")
        yield text(left + WIDE / 2, 61, about, "small", "middle")
        if command:
            yield arrow(left - GAP + 6, left - 6, 45)
            yield text(left - GAP / 2, 35, command, "small", "middle")


def results() -> str:
    """Two charts side by side."""
    title = "test RMSE against seconds on 27 million ratings, and nDCG of lists on MovieLens 1M"
    return picture(860, 348, title, [*_errors(24, 30), *_lists(470, 30)])


def _errors(left: float, top: float) -> Iterator[str]:
    """RMSE against the logarithm of seconds; lower and further left is better."""
    read = FigureTable.read("peers")
    width, height = 380, 220
    low, high = 0.743, 0.769
    yield text(left, top, "27 million ratings: error against seconds", "bold")
    yield line(left + 40, top + 20, left + 40, top + 20 + height)
    yield line(left + 40, top + 20 + height, left + 40 + width, top + 20 + height)
    for tick in (0.745, 0.75, 0.755, 0.76, 0.765):
        yield text(left + 34, top + 24 + height * (high - tick) / (high - low), f"{tick:.3f}", "small", "end")
    for seconds in (1, 3, 10, 30, 100):
        x = left + 40 + width * math.log(seconds) / math.log(120)
        yield text(x, top + 36 + height, f"{seconds} s", "small", "middle")
    for row, name in PROGRAMS.items():
        error, seconds_taken = _number(read, row, "test RMSE"), _number(read, row, "seconds on A")
        x = left + 40 + width * math.log(seconds_taken) / math.log(120)
        y = top + 20 + height * (high - error) / (high - low)
        yield dot(x, y, "ours" if name.startswith("mf") else "other")
        is_left = name in LABELLED_AT_LEFT
        yield text(x - 9 if is_left else x + 9, y + 4, name, "", "end" if is_left else "start")
    yield text(left, top + 64 + height, "test RMSE, training on 2 threads (Surprise: one)", "small")
    yield text(left, top + 82 + height, _origin(read.figures[0]), "small")


def _lists(left: float, top: float) -> Iterator[str]:
    """nDCG as bars; longer is better."""
    read = FigureTable.read("lists")
    longest = max(_number(read, row, "nDCG") for row in BARS)
    yield text(left, top, "MovieLens 1M: nDCG of lists of ten", "bold")
    for place, (row, name) in enumerate(BARS.items()):
        value, y = _number(read, row, "nDCG"), top + 30 + place * 36
        yield text(left + 108, y + 16, name, "", "end")
        yield box(left + 116, y, 200 * value / longest, 24, "ours" if name in OURS else "other", rounding=3)
        yield text(left + 124 + 200 * value / longest, y + 17, f"{value:.4f}")
    yield text(left, top + 284, "mean of five seeds", "small")
    yield text(left, top + 302, _origin(read.figures[0]), "small")


def _number(read: FigureTable, row: str, column: str) -> float:
    figure = read.cell(row, column)
    assert figure is not None, (row, column)
    return figure.number


def _origin(figure: Figure) -> str:
    return f"{figure.command}, {figure.commit}, {figure.date}"


PICTURES = {"pipeline": pipeline, "results": results}


def main() -> None:
    """Draw all pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
