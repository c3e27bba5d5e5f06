"""The page about a run: numbers and figures filled into one HTML template."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.report.run.evaluation import lists_of, rows_of
from recsys_dist.report.run.figures import learning_curves, speed
from recsys_dist.report.run.outcomes import outcomes_of
from recsys_dist.report.run.run_record import RunRecord, Status
from recsys_dist.report.templates import fill

TEMPLATE = "page.html.jinja"
OUTCOMES = {
    "finished": "finished",
    "early_stopped": "stopped early, validation no longer improved",
    "converged": "finished, the model has converged",
    "preempted": "interrupted and saved",
    None: "running, or killed",
}


def render(record: RunRecord, evaluation: EvaluationReport | None) -> str:
    """The whole page. Everything from files is escaped; only the figures are inserted as markup."""
    return fill(
        TEMPLATE,
        record=record,
        evaluation=evaluation,
        rows=rows_of(evaluation) if evaluation is not None else [],
        lists=lists_of(evaluation) if evaluation is not None else [],
        model=record.config.family.title(record.config.model),
        outcome=_ending(record.status),
        seconds=sum(epoch.seconds or 0.0 for epoch in record.epochs),
        settings=list(_flat(record.config.model_dump(mode="json"))),
        figures=_figures(record) if record.epochs else {},
        outcomes=outcomes_of(record),
    )


def _ending(status: Status) -> str:
    return f"failed: {status.error}" if status.state == "failed" else OUTCOMES[status.outcome]


def _figures(record: RunRecord) -> dict[str, Markup]:
    # Figures contain numbers and fixed words alone, so nothing needs to be escaped.
    has_errors = any(epoch.train_rmse is not None for epoch in record.epochs)
    learning = {"learning": Markup(learning_curves(record))} if has_errors else {}
    return {**learning, "speed": Markup(speed(record))}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted key, in the order and the spelling of the file."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
