"""Draw docs/images/*.svg: `python -m docs.site_builder.pictures`.

pipeline.svg   what the commands make of what
results.svg    peers.svg beside ndcg.svg
All others are charts of docs/figures, by `plots.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from docs.site_builder.charts import WIDTH, Bars, Chart
from docs.site_builder.figures import DOCS
from docs.site_builder.plots import growth, memory, ml1m, ndcg, peers, ranks
from docs.site_builder.svg import arrow, box, moved, picture, text

IMAGES = DOCS / "images"
STAGES = (
    ("rating files", "", "CSV, JSON, Parquet"),
    ("dataset", "prepare", "checked, split, hashed"),
    ("run", "train", "on many processes"),
    ("model", "merge", "one folder"),
    ("ratings, lists", "recommend", "and their errors"),
)
WIDE, HIGH, GAP = 150, 58, 84
LARGER = 1.5
"""How much larger than 400 pixels a wide page shows a chart."""


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
    charts: tuple[Chart | Bars, ...] = (peers(), ndcg())
    shapes = [moved(number * (WIDTH + 30), 4, one.shapes()) for number, one in enumerate(charts)]
    height = max(one.height for one in charts) + 8
    return picture(2 * WIDTH + 30, height, "; ".join(one.title for one in charts), shapes)


def chart(make: Callable[[], Chart | Bars]) -> Callable[[], str]:
    """One chart as a picture."""

    def draw() -> str:
        made = make()
        return picture(WIDTH, made.height, made.title, made.shapes(), LARGER)

    return draw


PICTURES = {
    "pipeline": pipeline,
    "results": results,
    **{make.__name__: chart(make) for make in (peers, ml1m, ndcg, growth, ranks, memory)},
}


def main() -> None:
    """Draw all pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
