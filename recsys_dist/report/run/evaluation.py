"""The report of `recsys-dist evaluate` about the model of a run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError
from recsys_dist.evaluation.comparison import ComparisonReport
from recsys_dist.evaluation.report import CutFigures, Errors, EvaluationReport, TimedErrors
from recsys_dist.report.run.run_record import RunRecord
from recsys_dist.training.config import TrainConfig


def read_evaluation(path: Path, config: TrainConfig) -> EvaluationReport:
    """Read the evaluation of the model that `config` trains, alone or among several.

    Raises `DataError` if the file is missing or not a report, `ConfigError` if it evaluates other models.
    """
    reports = ComparisonReport.read(path).reports
    others = [_other_setting(report, path, config) for report in reports]
    if None in others:
        return reports[others.index(None)]
    if len(reports) > 1:
        raise ConfigError(f"{path} evaluates {len(reports)} models, and none of them is that of {config.run_dir}")
    raise ConfigError(f"{path} evaluates another model than that of {config.run_dir}: {others[0]}")


def match_evaluations(paths: Sequence[Path], records: Sequence[RunRecord]) -> list[EvaluationReport | None]:
    """The evaluation of each run, None where none is given. Raises `ConfigError` for a file about no run."""
    found: list[EvaluationReport | None] = [None] * len(records)
    for path in paths:
        before = list(found)
        for report, (place, record) in itertools.product(ComparisonReport.read(path).reports, enumerate(records)):
            if _other_setting(report, path, record.config) is None:
                found[place] = report
        if found == before:
            raise ConfigError(f"{path} evaluates the model of none of these runs")
    return found


def _other_setting(report: EvaluationReport, path: Path, config: TrainConfig) -> str | None:
    """The first setting in which the evaluated model differs from the one of `config`; None if none does."""
    if "dataset" not in report.model.config:
        return f"it is of kind {report.model.kind}, which is not trained"
    evaluated = parse_settings(TrainConfig, report.model.config, source=f"{path}: the configuration of the model")
    mine, theirs = config.result_settings(), evaluated.result_settings()
    for key in mine:
        if theirs.get(key) != mine[key]:
            return f"{key} is {json.dumps(theirs.get(key))}, not {json.dumps(mine[key])}"
    return None


def rows_of(report: EvaluationReport) -> list[tuple[str, Errors, float | None]]:
    """The rows of the table, with seconds if measured: baselines, the model, its cold users and items."""
    whole = TimedErrors(rmse=report.rmse, mae=report.mae, count=report.count, seconds=report.seconds.predict)
    timed = [
        *((name.replace("_", " "), one) for name, one in report.baselines.items()),
        (report.model.kind, whole),
    ]
    parts = [("cold users", report.cold_users), ("cold items", report.cold_items)]
    return [*((name, one, one.seconds) for name, one in timed), *((name, one, None) for name, one in parts)]


def lists_of(report: EvaluationReport) -> list[tuple[str, CutFigures]]:
    """The rows of the table of lists: baselines, then the model, each at every cut."""
    if report.ranking is None:
        return []
    rows = [(name, one) for name, cuts in report.ranking.baselines.items() for one in cuts]
    return [*rows, *((report.model.kind, one) for one in report.ranking.cuts)]
