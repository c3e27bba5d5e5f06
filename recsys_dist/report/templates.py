"""The HTML templates of this folder: every page extends `base.html.jinja` and needs no other file."""

from __future__ import annotations

import math
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def fill(template: str, **values: Any) -> str:
    """Fill a template with values. All values are escaped except `Markup`, the figures."""
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["error"] = _error
    return environment.get_template(template).render(values)


def _source(name: str) -> str:
    return files("recsys_dist.report").joinpath(name).read_text("utf-8")


def _error(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"
