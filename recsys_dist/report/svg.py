"""SVG text for an HTML page, which sets its colours and its font.

The same figures give the same bytes: no date, no random ids. Ids begin with the name of the figure, so that a page
can contain several.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import matplotlib.style
from matplotlib.figure import Figure

# matplotlib has no CSS variables: it draws with these colours, which its output replaces by variables.
INK, MUTED, GRID, TRAIN, VALID = "#000001", "#000002", "#000003", "#000004", "#000005"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", TRAIN: "--train", VALID: "--valid"}
# On top of matplotlib's own defaults, not the user's settings, so that pages look the same everywhere.
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

WIDE, NARROW = 7.6, 4.5
"""Inches: of the column of a page, and of the screen of a phone with the same size of text."""
Draw = Callable[[Figure, bool], None]
"""Draws into an empty figure, which is narrow or not."""


def drawing(draw: Draw, name: str, height: float) -> str:
    """The same figure wide and narrow, `height` inches high: the page shows the one that suits its width."""
    parts = []
    for kind, width in (("wide", WIDE), ("narrow", NARROW)):
        with style():
            figure = Figure(figsize=(width, height), layout="constrained")
            draw(figure, kind == "narrow")
            parts.append(f'<div class="{kind}">\n{to_svg(figure, f"{name}-{kind}")}</div>\n')
    return "".join(parts)


def style() -> AbstractContextManager[None]:
    """Context that draws figures in the style of the pages."""
    return matplotlib.style.context(["default", STYLE])


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element; `name` is unique within the page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub("|".join(VARIABLES), lambda match: f"var({VARIABLES[match.group()]})", svg)
