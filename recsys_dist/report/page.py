"""The page: numbers and figures of a run filled into one HTML template."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from recsys_dist.report.evaluation import Evaluation
from recsys_dist.report.figures import learning_curves, speed
from recsys_dist.report.run_record import RunRecord
from recsys_dist.training.config import AutorecSettings, MfSettings, TrainConfig

TEMPLATE = "page.html.jinja"
OUTCOMES = {
    "finished": "finished",
    "early_stopped": "stopped early, validation no longer improved",
    "converged": "finished, the model stands still",
    "preempted": "interrupted and saved",
    None: "running, or killed",
}


def render(record: RunRecord, evaluation: Evaluation | None) -> str:
    """The whole page. Everything that comes from files is escaped; the figures are the only markup put in."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"error": _error, "setting": _setting}
    template = environment.from_string(files("recsys_dist.report").joinpath(TEMPLATE).read_text("utf-8"))
    return template.render(
        record=record,
        evaluation=evaluation,
        model=_model_name(record.config),
        outcome=OUTCOMES[record.status.outcome],
        seconds=sum(epoch.seconds or 0.0 for epoch in record.epochs),
        settings=list(_flat(record.config.model_dump(mode="json"))),
        figures=_figures(record) if record.epochs else {},
    )


def _figures(record: RunRecord) -> dict[str, Markup]:
    # Numbers and fixed words, so nothing in them needs to be escaped.
    return {"learning": Markup(learning_curves(record)), "speed": Markup(speed(record))}


def _model_name(config: TrainConfig) -> str:
    match config.model:
        case MfSettings(factors=factors):
            return f"Matrix factorization by EM, {factors} factors"
        case AutorecSettings(orientation=orientation, hidden=hidden):
            units = "-".join(map(str, hidden))
            return f"{'Item' if orientation == 'items' else 'User'}-AutoRec, {units} hidden units"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names, in the order of the file."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _setting(value: Any) -> str:
    """A value as the configuration file spells it."""
    return value if isinstance(value, str) else json.dumps(value)


def _error(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"
