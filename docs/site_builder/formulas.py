"""Formulas of a page as MathML, which browsers typeset without scripts and fonts."""

from __future__ import annotations

import re
from html import unescape

from latex2mathml.converter import convert

# What pymdownx.arithmatex makes of $...$ and $$...$$ with `generic: true`.
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def typeset(html: str) -> str:
    """Replace each formula in LaTeX by MathML."""
    return FORMULA.sub(_as_mathml, html)


def _as_mathml(found: re.Match[str]) -> str:
    display = "block" if found[1] == "div" else "inline"
    return str(convert(unescape(found[2]).strip(), display=display))
