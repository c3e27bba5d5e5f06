"""The page about a run: numbers and figures filled into one HTML template."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.report.run.evaluation import lists_of, rows_of
from recsys_dist.report.run.evaluation_figures import calibration, errors_by_segment, lists_beside_baselines
from recsys_dist.report.run.examples import ExampleList
from recsys_dist.report.run.figures import learning_curves, speed
from recsys_dist.report.run.outcomes import outcomes_of
from recsys_dist.report.run.run_record import RunRecord, Status
from recsys_dist.report.run.trials import trials_chart
from recsys_dist.report.templates import fill

TEMPLATE = "page.html.jinja"
OUTCOMES = {
    "finished": "finished",
    "early_stopped": "stopped early, validation no longer improved",
    "converged": "finished, the model has converged",
    "preempted": "interrupted and saved",
    None: "running, or killed",
}


def render(record: RunRecord, evaluation: EvaluationReport | None, examples: Sequence[ExampleList] = ()) -> str:
    """The whole page. Everything from files is escaped; only the figures are inserted as markup."""
    return fill(
        TEMPLATE,
        record=record,
        evaluation=evaluation,
        rows=rows_of(evaluation) if evaluation is not None else [],
        lists=lists_of(evaluation) if evaluation is not None else [],
        model=record.config.family.title(record.config.model),
        outcome=ending(record.status),
        merged=_merged(record),
        decisions=[(epoch.epoch, epoch.note) for epoch in record.epochs if epoch.note is not None],
        examples=examples,
        settings=list(flat(record.config.model_dump(mode="json"))),
        # Figures contain numbers, fixed words and names of models alone, so nothing needs to be escaped.
        figures={name: Markup(svg) for name, svg in _figures(record, evaluation)},
        outcomes=outcomes_of(record),
    )


def ending(status: Status) -> str:
    """How a run ended, in words."""
    return f"failed: {status.error}" if status.state == "failed" else OUTCOMES[status.outcome]


def _merged(record: RunRecord) -> str:
    """Which state `merge` takes, and why."""
    if record.best is None:
        return "Merge takes the last state, because no epoch has a validation error to choose by."
    epoch, rmse = record.best
    count = record.num_candidates
    of = f"the lowest validation RMSE of {count} epochs" if count > 1 else "the only epoch with a validation RMSE"
    searched = (
        " Epochs of the search are no candidates: what they try may be undone." if _has_searched(record) else ""
    )
    return f"Merge takes the state of epoch {epoch}: {rmse:.4f} is {of}.{searched}"


def _has_searched(record: RunRecord) -> bool:
    return any(epoch.searching for epoch in record.epochs)


def _figures(record: RunRecord, evaluation: EvaluationReport | None) -> Iterator[tuple[str, str]]:
    if record.epochs:
        if any(epoch.train_rmse is not None for epoch in record.epochs):
            yield "learning", learning_curves(record)
        if record.trials:
            yield "trials", trials_chart(record.trials)
        yield "speed", speed(record)
    if evaluation is not None:
        if evaluation.uncertainty is not None:
            yield "calibration", calibration(evaluation.uncertainty)
        if evaluation.ranking is not None:
            yield "lists", lists_beside_baselines(evaluation.ranking, evaluation.model.kind)
        if evaluation.rmse is not None:
            yield "segments", errors_by_segment(evaluation.segments, evaluation.rmse)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted key, in the order and the spelling of the file."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
