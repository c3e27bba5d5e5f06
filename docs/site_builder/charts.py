"""Charts 400 units wide, so that their words are legible on a page of 400 pixels."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from docs.site_builder.axes import Axis
from docs.site_builder.svg import box, dot, line, path, text

WIDTH = 400
LEFT, RIGHT, TOP, PLOT_HEIGHT = 56, 14, 60, 210
MARGIN, LINE = 14, 17
LETTER, SMALL_LETTER = 7.4, 6.3
"""About the widths of a letter of 14 px and of 12 px."""
CHARACTERS_OF_A_NOTE = 58
BAR, BAR_STEP, VALUE_WIDTH = 22, 32, 58
TRACE = 40
"""Parts of a line that a name must not cover."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that a line joins, and the name beside the last of them; `kind` is a class of svg.STYLE."""

    name: str
    kind: str
    points: tuple[Place, ...]


@dataclass(frozen=True)
class Chart:
    """Series against two axes."""

    title: str
    x: Axis
    y: Axis
    x_name: str
    y_name: str
    series: tuple[Series, ...]
    note: str

    @property
    def height(self) -> int:
        """Of the whole chart."""
        return TOP + PLOT_HEIGHT + 50 + LINE * len(_wrapped(self.note))

    def shapes(self) -> Iterator[str]:
        """Everything but the ground."""
        yield text(MARGIN, 26, self.title, "bold")
        yield text(MARGIN, 46, self.y_name, "small")
        yield from self._axes()
        for one in self.series:
            places = [self._place(point) for point in one.points]
            if len(places) > 1:
                yield path(places, f"{one.kind}-line")
            yield from (dot(x, y, one.kind) for x, y in places)
        yield from self._names()
        yield from _notes(self.note, TOP + PLOT_HEIGHT + 56)

    def _place(self, point: Place) -> Place:
        x = LEFT + (WIDTH - LEFT - RIGHT) * self.x.share(point[0])
        return x, TOP + PLOT_HEIGHT * (1 - self.y.share(point[1]))

    def _axes(self) -> Iterator[str]:
        bottom = TOP + PLOT_HEIGHT
        digits = max(len(f"{tick:g}".partition(".")[2]) for tick in self.y.ticks)
        for tick in self.y.ticks:
            _, y = self._place((self.x.low, tick))
            yield line(LEFT, y, WIDTH - RIGHT, y, "grid")
            yield text(LEFT - 6, y + 4, f"{tick:.{digits}f}", "small", "end")
        for tick in self.x.ticks:
            x, _ = self._place((tick, self.y.low))
            yield line(x, bottom, x, bottom + 5)
            yield text(x, bottom + 19, f"{tick:g}", "small", "middle")
        yield line(LEFT, bottom, WIDTH - RIGHT, bottom)
        yield text(WIDTH - RIGHT, bottom + 37, self.x_name, "small", "end")

    def _traced(self, one: Series) -> Iterator[Place]:
        """The points of a series, and places close together on the line between them."""
        places = [self._place(point) for point in one.points]
        yield from places
        for (x1, y1), (x2, y2) in pairwise(places):
            for share in range(1, TRACE):
                yield x1 + (x2 - x1) * share / TRACE, y1 + (y2 - y1) * share / TRACE

    def _names(self) -> Iterator[str]:
        """A name beside each series, where it covers neither a point nor another name."""
        taken = [(x - 6, y - 6, x + 6, y + 6) for one in self.series for x, y in self._traced(one)]
        for one in self.series:
            x, y, anchor = min(
                _candidates(self._place(one.points[-1])), key=lambda place: _cost(_area(one.name, *place), taken)
            )
            taken.append(_area(one.name, x, y, anchor))
            yield text(x, y, one.name, "name", anchor)


Area = tuple[float, float, float, float]
"""Left, top, right and bottom."""


def _candidates(place: Place) -> Iterator[tuple[float, float, str]]:
    """Where a name may start or end: beside the point, above or below it, and further away."""
    x, y = place
    for away in range(0, 41, 4):
        for shift in (5, 5 - away, 5 + away):
            yield x + 9, y + shift, "start"
            yield x - 9, y + shift, "end"
        for anchor in ("middle", "start", "end"):
            yield x, y - 11 - away, anchor
            yield x, y + 20 + away, anchor


def _cost(area: Area, taken: Sequence[Area]) -> int:
    """How many things a name covers; outside the plot it is worse than to cover any of them."""
    outside = 0 if _is_inside(area) else len(taken)
    return outside + sum(_meet(area, other) for other in taken)


def _area(name: str, x: float, y: float, anchor: str) -> Area:
    width = LETTER * len(name)
    left = x - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
    return left, y - 12, left + width, y + 4


def _is_inside(area: Area) -> bool:
    left, top, right, bottom = area
    return left >= LEFT + 2 and right <= WIDTH - 4 and top >= TOP - 8 and bottom <= TOP + PLOT_HEIGHT - 2


def _meet(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@dataclass(frozen=True)
class Bars:
    """Values as horizontal bars from 0: (name, value, kind, text beside the bar)."""

    title: str
    rows: tuple[tuple[str, float, str, str], ...]
    note: str

    @property
    def height(self) -> int:
        """Of the whole chart."""
        return 44 + BAR_STEP * len(self.rows) + 10 + LINE * len(_wrapped(self.note))

    def shapes(self) -> Iterator[str]:
        """Everything but the ground."""
        yield text(MARGIN, 26, self.title, "bold")
        left = MARGIN + 8 + LETTER * max(len(name) for name, *_ in self.rows)
        longest = max(value for _, value, *_ in self.rows)
        for place, (name, value, kind, told) in enumerate(self.rows):
            y, width = 44 + BAR_STEP * place, (WIDTH - left - VALUE_WIDTH - MARGIN) * value / longest
            yield text(left - 8, y + 16, name, "", "end")
            yield box(left, y, width, BAR, kind, rounding=3)
            yield text(left + width + 7, y + 16, told)
        yield from _notes(self.note, 44 + BAR_STEP * len(self.rows) + 14)


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, CHARACTERS_OF_A_NOTE)


def _notes(words: str, top: float) -> Iterator[str]:
    for number, one in enumerate(_wrapped(words)):
        yield text(MARGIN, top + LINE * number, one, "small")


def kinds(count: int) -> Sequence[str]:
    """Colours of so many series."""
    return [("ours", "third", "other")[number % 3] for number in range(count)]
