"""Charts are legible on a narrow page: words do not meet, leave the picture or shrink."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from typing import Any

import pytest

from benchmarks.opponents import opponents
from benchmarks.origin import Origin
from benchmarks.run import table_of
from benchmarks.suites import accuracy
from docs.site_builder.axes import Axis
from docs.site_builder.charts import LETTER, SMALL_LETTER, WIDTH, Bars, Chart, Series
from docs.site_builder.figures import FigureTable
from docs.site_builder.pictures import PICTURES
from docs.site_builder.plots import short
from docs.site_builder.svg import STYLE

CHARTS = [name for name in PICTURES if name not in {"pipeline", "results"}]
WORDS = re.compile(r'<text x="([\d.]+)" y="([\d.]+)"(?: class="(\w+)")? text-anchor="(\w+)">([^<]*)</text>')
Box = tuple[float, float, float, float]


def boxes(svg: str) -> list[tuple[str, Box]]:
    """Left, top, right and bottom of all words, by the mean widths of letters."""
    found = []
    for x, y, kind, anchor, words in WORDS.findall(svg):
        width = (SMALL_LETTER if kind == "small" else LETTER) * len(words)
        left = float(x) - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        found.append((words, (left, float(y) - 11, left + width, float(y) + 3)))
    return found


def meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("name", CHARTS)
def test_words_neither_meet_nor_leave_the_picture(name: str) -> None:
    svg = PICTURES[name]()
    (height,) = (float(found) for found in re.findall(r'viewBox="0 0 \d+ (\d+)"', svg))
    found = boxes(svg)
    assert len(found) > 5
    assert not [words for words, box in found if box[0] < 0 or box[2] > WIDTH or box[3] > height]
    assert not [(a, b) for (a, one), (b, other) in combinations(found, 2) if meet(one, other)]


@pytest.mark.parametrize("name", CHARTS)
def test_letters_have_12_pixels_on_a_page_of_400(name: str) -> None:
    assert f'viewBox="0 0 {WIDTH} ' in PICTURES[name]()
    assert WIDTH <= 400
    assert min(int(size) for size in re.findall(r"(\d+)px", STYLE)) >= 12


GROUNDS = {"light": "#ffffff", "dark": "#0d1117"}


@pytest.mark.parametrize("mode", GROUNDS)
def test_colours_stand_out_from_the_ground(mode: str) -> None:
    light, dark = STYLE.split("@media")
    rules = {"light": light, "dark": dark}[mode]
    for kind, least in {".ours": 3, ".other": 3, ".third": 3, ".small": 4.5, ".ours-line": 3}.items():
        colour, *_ = re.findall(rf"{re.escape(kind)} {{[^}}]*?(#\w{{6}})", rules)
        assert contrast(colour, GROUNDS[mode]) >= least, kind


def contrast(one: str, other: str) -> float:
    """As WCAG defines it."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


class TestAxis:
    @pytest.mark.parametrize("values", [[2.0], [1.0, 1000.0], [0.7, 94.0], [14.6, 21.1], [0.0625, 2.0]])
    def test_a_logarithmic_one_holds_its_values_and_ticks(self, values: list[float]) -> None:
        axis = Axis.logarithmic(values)
        assert all(0 < axis.share(value) < 1 for value in values)
        assert len(axis.ticks) >= 2
        assert axis.share(10 * values[0]) - axis.share(values[0]) == pytest.approx(
            axis.share(values[0]) - axis.share(values[0] / 10)
        )

    @pytest.mark.parametrize("values", [[3.0], [0.7449, 0.767], [41.0, 78.0], [0.0, 0.0]])
    def test_a_linear_one_has_even_ticks(self, values: list[float]) -> None:
        axis = Axis.linear(values)
        assert all(0 < axis.share(value) < 1 for value in values)
        steps = [after - before for before, after in pairwise(axis.ticks)]
        assert len(axis.ticks) >= 2
        assert steps == pytest.approx([steps[0]] * len(steps))

    def test_lengths_begin_at_zero(self) -> None:
        assert Axis.linear([1.0, 2.0], from_zero=True).share(0) == 0

    def test_whole_numbers_are_written_each(self) -> None:
        assert Axis.counting([1, 2, 4, 2]).ticks == (1, 2, 4)


def test_lower_errors_lie_lower_and_less_seconds_further_left() -> None:
    series = tuple(Series(name, "ours", (place,)) for name, place in {"a": (1.0, 0.9), "b": (10.0, 0.8)}.items())
    axes = Axis.logarithmic([1.0, 10.0]), Axis.linear([0.8, 0.9])
    svg = "".join(Chart("T", *axes, "s", "RMSE", series, "Machine: A.").shapes())
    (ax, ay), (bx, by) = (map(float, place) for place in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg))
    assert ax < bx
    assert ay < by


def test_names_of_points_close_together_do_not_meet() -> None:
    points = [(10.0 + number, 0.8 + number / 1000) for number in range(6)]
    series = tuple(Series(f"program {number}", "other", (place,)) for number, place in enumerate(points))
    axes = Axis.logarithmic([1.0, 100.0]), Axis.linear([0.7, 0.9])
    found = boxes("".join(Chart("T", *axes, "s", "RMSE", series, "").shapes()))
    names = [box for words, box in found if words.startswith("program")]
    assert not [pair for pair in combinations(names, 2) if meet(*pair)]


def test_a_bar_is_as_long_as_its_value() -> None:
    shapes = "".join(Bars("T", (("a", 1.0, "ours", "1"), ("b", 2.0, "other", "2")), "").shapes())
    one, two = (float(width) for width in re.findall(r'width="([\d.]+)"', shapes))
    assert two == pytest.approx(2 * one, abs=0.2)


def test_a_whole_table_of_movielens_1m_is_legible(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [one for one in opponents("ml-1m") if not one.label.endswith("builds it")]
    rows: list[dict[str, Any]] = [
        *(
            {"model": one, "rmse": 0.8 + n / 100, "seconds": 10.0 + n}
            for n, one in enumerate(accuracy.CONFIGS[:3])
        ),
        *(
            {"model": accuracy.label_of(one), "rmse": 0.84 + n / 200, "seconds": 3.0 + 4 * n}
            for n, one in enumerate(others)
        ),
        {"model": "ials, until it is as good as ALS", "ndcg": 0.3, "seconds": 1.0},
        *(
            {"model": f"implicit 0.7.3 ALS, 64 factors, {n} epochs", "ndcg": 0.2, "seconds": n}
            for n in (5, 10, 15)
        ),
        {"model": "blend for ratings", "ndcg": 0.1, "rmse": 0.795, "seconds": 40.0},
        {"model": "blend for lists", "ndcg": 0.31, "seconds": 50.0},
    ]
    made = table_of(accuracy.table_of(rows, "MovieLens 1M"), Origin(*["-"] * 5))
    monkeypatch.setattr(FigureTable, "read", lambda _name: made)
    for name in ("ml1m", "ndcg"):
        found = boxes(PICTURES[name]())
        assert not [(a, b) for (a, one), (b, other) in combinations(found, 2) if meet(one, other)]
        assert not [words for words, box in found if box[0] < 0 or box[2] > WIDTH]


def test_names_in_a_chart_are_short() -> None:
    assert short("LIBMF, AVX and OpenMP, 40 iterations") == "LIBMF, 40"
    assert short("implicit ALS, 64 factors, 5 epochs") == "implicit ALS, 5 epochs"
    assert short("mf, `training.memory_limit=256MiB`") == "mf, memory_limit=256MiB"
