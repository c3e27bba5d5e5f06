"""The page that compares several runs."""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.report.run.page import ending, flat
from recsys_dist.report.run.run_record import RunRecord
from recsys_dist.report.svg import MUTED, TRAIN, VALID, drawing
from recsys_dist.report.templates import fill

TEMPLATE = "comparison.html.jinja"
LINES = [(color, style) for style in ("-", "--", ":", "-.") for color in (TRAIN, VALID, MUTED)]
"""Told apart without colours too, once there are more runs than colours."""


@dataclass(frozen=True)
class ComparedRun:
    """One run; `letter` names it in figures and tables."""

    letter: str
    record: RunRecord
    evaluation: EvaluationReport | None

    @property
    def model(self) -> str:
        """What was trained."""
        return self.record.config.family.title(self.record.config.model)

    @property
    def outcome(self) -> str:
        """How it ended."""
        return ending(self.record.status)

    @property
    def rmse(self) -> float | None:
        """Of the evaluation."""
        return None if self.evaluation is None else self.evaluation.rmse

    @property
    def ndcg(self) -> float | None:
        """At the first cut of the evaluation."""
        ranking = None if self.evaluation is None else self.evaluation.ranking
        return None if ranking is None else ranking.cuts[0].ndcg


def render(records: Sequence[RunRecord], evaluations: Sequence[EvaluationReport | None]) -> str:
    """The whole page. Everything from files is escaped; only the figures are inserted as markup."""
    parts = zip(_letters(), records, evaluations, strict=False)
    runs = [ComparedRun(letter, record, evaluation) for letter, record, evaluation in parts]
    validated = [run for run in runs if run.record.best is not None]
    figures = {"learning": Markup(_learning_curves(validated))} if validated else {}
    return fill(
        TEMPLATE,
        runs=runs,
        best=_best(validated),
        datasets=list(dict.fromkeys(record.config.dataset for record in records)),
        settings=_differing(records),
        figures=figures,
    )


def _letters() -> itertools.chain[str]:
    pairs = ("".join(pair) for pair in itertools.product(string.ascii_uppercase, repeat=2))
    return itertools.chain(string.ascii_uppercase, pairs)


def _best(validated: Sequence[ComparedRun]) -> ComparedRun | None:
    """The run with the lowest validation RMSE, if all runs of several were trained on the same dataset."""
    if len(validated) < 2 or len({run.record.config.dataset for run in validated}) > 1:
        return None
    return min(validated, key=lambda run: run.record.best[1] if run.record.best else 0.0)


def _learning_curves(runs: Sequence[ComparedRun]) -> str:
    """Validation RMSE by epoch and by seconds; letters name the runs."""

    def draw(figure: Figure, is_narrow: bool) -> None:
        by_epoch, by_second = (
            figure.subplots(2, 1, sharey=True) if is_narrow else figure.subplots(1, 2, sharey=True)
        )
        for (color, style), run in zip(itertools.cycle(LINES), runs):
            epochs = run.record.epochs
            rmse = [float("nan") if epoch.valid_rmse is None else epoch.valid_rmse for epoch in epochs]
            seconds = list(itertools.accumulate(epoch.seconds or 0.0 for epoch in epochs))
            by_epoch.plot([epoch.epoch for epoch in epochs], rmse, color=color, linestyle=style, label=run.letter)
            by_second.plot(seconds, rmse, color=color, linestyle=style, label=run.letter)
        by_epoch.set_xlabel("epoch")
        by_second.set_xlabel("seconds")
        for axes in (by_epoch, by_second):
            axes.set_ylabel("validation RMSE")
        by_epoch.legend(ncols=3)

    return drawing(draw, "learning", 3.4)


def _differing(records: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """The settings in which the runs differ, with their values; – where a run has no such setting."""
    settings = [dict(flat(record.config.model_dump(mode="json"))) for record in records]
    keys = dict.fromkeys(itertools.chain.from_iterable(settings))
    rows = [(key, [one.get(key, "–") for one in settings]) for key in keys if key != "run_dir"]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
