"""Several models on the same held-out ratings, and paired differences of each to the first.

A difference is the mean over users of (model - first) per user, or the difference of two RMSE over all ratings.
Its interval holds the middle 95 % of the differences over bootstrap samples of users: as many users, drawn with
replacement by a fixed seed, the same for both models (Efron & Tibshirani 1993, chapter 13).

Q users, X samples, D differences
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.evaluation.errors import Measured
from recsys_dist.evaluation.evaluate import Evaluation, measure
from recsys_dist.evaluation.report import EvaluationReport, Figure, is_comparison, read_json, write_report
from recsys_dist.evaluation.settings import EvaluationSettings
from recsys_dist.inference.frames import as_pandas
from recsys_dist.inference.loading import load_predictor
from recsys_dist.inference.predictor import Predictor
from recsys_dist.metrics import METRICS
from recsys_dist.plain_text import text_table
from recsys_dist.strict_model import StrictModel, validated

SAMPLES = 2000
SEED = 0
COVERAGE = 0.95
COMPARED = ("ndcg", "truncated_recall")
"""The metrics of lists that are compared, at each cut."""
DRAWS_AT_ONCE = 1 << 22
Floats = NDArray[np.float64]


class Difference(StrictModel):
    """How much the figure of a model exceeds that of the first, over `users`."""

    difference: Figure
    low: Figure
    high: Figure
    """The interval of 95 %, None over fewer than two users."""
    users: int


class PairedComparison(StrictModel):
    """One model against the first; both by the position of their report."""

    model: int
    first: int
    differences: dict[str, Difference]
    """`rmse`, if both predict ratings, and `ndcg@10`, `truncated_recall@10` at each cut."""


class ComparisonReport(StrictModel):
    """The reports of all models, and the comparison of each but the first with the first."""

    reports: tuple[EvaluationReport, ...]
    comparisons: tuple[PairedComparison, ...]

    @classmethod
    def read(cls, path: Path) -> ComparisonReport:
        """Read the report of one model or of several. Raises `DataError` if it is missing or not a report."""
        tree = read_json(path)
        if not is_comparison(tree):
            return cls(reports=(EvaluationReport.read(path),), comparisons=())
        return validated(cls, tree, lambda problem: DataError(f"{path}: {problem}; write it again"))

    def __repr__(self) -> str:
        rows = [["difference", "low", "high", "figure", "model"]]
        for one in self.comparisons:
            names = f"{self.reports[one.model].model.url} - {self.reports[one.first].model.url}"
            for figure, found in one.differences.items():
                shown = ["-" if x is None else f"{x:+.4f}" for x in (found.difference, found.low, found.high)]
                rows.append([*shown, figure, names])
        return text_table(rows, numbers=3)

    __str__ = __repr__

    def to_arrow(self) -> pa.Table:
        """One row per comparison and figure: model, first, figure, difference, low, high, users."""
        rows = [
            {
                "model": self.reports[one.model].model.url,
                "first": self.reports[one.first].model.url,
                "figure": figure,
                **found.model_dump(),
            }
            for one in self.comparisons
            for figure, found in one.differences.items()
        ]
        texts = [(name, pa.string()) for name in ("model", "first", "figure")]
        numbers = [(name, pa.float64()) for name in ("difference", "low", "high")]
        return pa.Table.from_pylist(rows, pa.schema([*texts, *numbers, ("users", pa.int64())]))

    def to_pandas(self) -> Any:
        """The table of `to_arrow` as a DataFrame."""
        return as_pandas(self.to_arrow())

    def write(self, path: Path) -> None:
        """Write the report as JSON to a local file."""
        write_report(self, path)


def evaluate_folders(
    model_dirs: Sequence[str], dataset_url: str, settings: EvaluationSettings, device: str, verify: bool
) -> tuple[ComparisonReport, list[Evaluation]]:
    """Load models and `compare` them; `verify` checks the hash of every model file first."""
    models, seconds = [], []
    for model_dir in model_dirs:
        start = time.perf_counter()
        models.append(load_predictor(model_dir, device, verify))
        seconds.append(time.perf_counter() - start)
    return compare(models, Dataset.open(dataset_url), settings, seconds)


def compare(
    models: Sequence[Predictor],
    dataset: Dataset,
    settings: EvaluationSettings,
    load_seconds: Sequence[float] | None = None,
) -> tuple[ComparisonReport, list[Evaluation]]:
    """Evaluate all models on the same users. Raises `ConfigError` unless they were trained on the same split."""
    _require_same_training(models)
    evaluations: list[Evaluation] = []
    baselines: dict[str, Measured] | None = None
    for model, seconds in zip(models, load_seconds or [0.0] * len(models), strict=True):
        evaluations.append(measure(model, dataset, settings, seconds, baselines))
        baselines = evaluations[-1].errors.baselines or baselines
    comparisons = [
        PairedComparison(model=number, first=0, differences=dict(_differences(evaluations[0], one)))
        for number, one in enumerate(evaluations)
        if number
    ]
    reports = tuple(one.report for one in evaluations)
    return ComparisonReport(reports=reports, comparisons=tuple(comparisons)), evaluations


def _require_same_training(models: Sequence[Predictor]) -> None:
    if not models:
        raise ConfigError("there is no model to compare; give one or more")
    first = models[0].catalog
    for model in models[1:]:
        mine, other = (one.folder.manifest.provenance.split_fingerprint for one in (first, model.catalog))
        sides = ((first.user_ids, model.catalog.user_ids), (first.item_ids, model.catalog.item_ids))
        if mine != other or not all(own.array.equals(its.array) for own, its in sides):
            raise ConfigError(
                f"{first.url} and {model.catalog.url} were trained on different datasets; compare models of the "
                "same one"
            )


def _differences(first: Evaluation, other: Evaluation) -> Iterator[tuple[str, Difference]]:
    if first.report.predicts_ratings and other.report.predicts_ratings:
        yield "rmse", _rmse_difference(first, other)
    if first.ranked is None or other.ranked is None:
        return
    assert np.array_equal(first.ranked.user_Q, other.ranked.user_Q), "the same ratings give the same users"
    wanted = [METRICS.index(name) for name in COMPARED]
    change_QTM = (other.ranked.metric_QTM - first.ranked.metric_QTM)[:, :, wanted]
    names = [f"{name}@{top}" for top in first.ranked.tops for name in COMPARED]
    num_users = len(change_QTM)
    change_QD = change_QTM.reshape(num_users, len(names))
    sample_XD = weighted_sums(change_QD) / max(1, num_users)
    mean_D = change_QD.sum(0) / num_users if num_users else np.full(len(names), math.nan)
    for name, mean, sample_X in zip(names, mean_D.tolist(), sample_XD.T, strict=True):
        yield name, _difference(mean, sample_X, num_users)


def _rmse_difference(first: Evaluation, other: Evaluation) -> Difference:
    sides = first.errors.by_user, other.errors.by_user
    rated_Q = np.flatnonzero(sides[0].count_G)
    columns = [side.squared_G[rated_Q] for side in sides]
    square_X, other_square_X, count_X = weighted_sums(np.stack([*columns, sides[0].count_G[rated_Q]], 1)).T
    sample_X = np.sqrt(other_square_X / count_X) - np.sqrt(square_X / count_X)
    whole = other.errors.model.errors.rmse - first.errors.model.errors.rmse
    return _difference(whole, sample_X, len(rated_Q))


def weighted_sums(figure_QD: Floats) -> Floats:
    """The sum of each column over the users of each bootstrap sample: [X, D]"""
    num_users, rng = len(figure_QD), np.random.default_rng(SEED)
    at_once, sums = max(1, DRAWS_AT_ONCE // max(1, num_users)), []
    for start in range(0, SAMPLES if num_users else 0, at_once):
        num_samples = min(at_once, SAMPLES - start)
        drawn_XQ = rng.integers(0, num_users, (num_samples, num_users))
        place_XQ = drawn_XQ + num_users * np.arange(num_samples)[:, None]
        weight_XQ = np.bincount(place_XQ.ravel(), minlength=place_XQ.size).reshape(place_XQ.shape)
        sums.append(weight_XQ.astype(np.float64) @ figure_QD)
    return np.concatenate([np.empty((0, figure_QD.shape[1])), *sums])


def _difference(difference: float, sample_X: Floats, num_users: int) -> Difference:
    low, high = math.nan, math.nan
    if num_users > 1:
        low, high = np.quantile(sample_X, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]).tolist()
    return Difference(difference=difference, low=low, high=high, users=num_users)
