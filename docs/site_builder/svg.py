"""Shapes of an SVG picture that is legible on light and on dark pages: it brings its own background."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de }
  .box { fill: #f6f8fa; stroke: #8c959f }
  .name { paint-order: stroke; stroke: #ffffff; stroke-width: 4 }
  .ours { fill: #2858c4 } .other { fill: #818b98 } .third { fill: #b35900 }
  .line { stroke: #57606a; fill: none } .grid { stroke: #d0d7de; fill: none }
  .ours-line { stroke: #2858c4 } .other-line { stroke: #818b98 } .third-line { stroke: #b35900 }
  .ours-line, .other-line, .third-line { fill: none; stroke-width: 2 }
  text { font: 14px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .small { font-size: 12px; fill: #57606a } .bold { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d }
    .box { fill: #161b22; stroke: #6e7681 }
    .name { stroke: #0d1117 }
    .ours { fill: #78a5ff } .other { fill: #7d8590 } .third { fill: #f0a45d }
    .line { stroke: #9198a1 } .grid { stroke: #30363d }
    .ours-line { stroke: #78a5ff } .other-line { stroke: #7d8590 } .third-line { stroke: #f0a45d }
    text { fill: #f0f6fc } .small { fill: #9198a1 }
  }
"""


def picture(width: int, height: int, title: str, shapes: Iterable[str], scale: float = 1) -> str:
    """A whole picture; `title` is what a screen reader says. A wide page shows it `scale` times as large."""
    inside = "\n".join(shapes)
    size = f'viewBox="0 0 {width} {height}" width="{width * scale:g}" height="{height * scale:g}"'
    ground = box(0.5, 0.5, width - 1, height - 1, "ground", rounding=8)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n{ground}\n{inside}\n</svg>\n"
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words whose baseline starts, ends or is centred at a point."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{style} text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str = "box", rounding: int = 6) -> str:
    """A rectangle by its upper left corner."""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{rounding}"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "line") -> str:
    """A line between two points."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def arrow(x1: float, x2: float, y: float) -> str:
    """A horizontal arrow to the right."""
    return (
        line(x1, y, x2, y)
        + f'<path class="line" d="M {x2 - 6:.1f} {y - 4:.1f} L {x2:.1f} {y:.1f} L {x2 - 6:.1f} {y + 4:.1f}"/>'
    )


def dot(x: float, y: float, kind: str) -> str:
    """A point of a chart."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def path(points: Iterable[tuple[float, float]], kind: str) -> str:
    """A line through points."""
    places = " L ".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{kind}" d="M {places}"/>'


def moved(x: float, y: float, shapes: Iterable[str]) -> str:
    """Shapes at another place of the picture."""
    return f'<g transform="translate({x:g} {y:g})">\n' + "\n".join(shapes) + "\n</g>"
