"""Evaluation of a model on held-out ratings, beside two baselines fitted on the same train ratings.

In: a model folder, a prepared dataset. Out: the report (report.py). Held-out ratings are compared with
predictions, never used to make them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset, Ratings
from recsys_dist.errors import ConfigError
from recsys_dist.evaluation.baselines import BiasModel, mean_rating
from recsys_dist.evaluation.calibration import CalibrationSums
from recsys_dist.evaluation.held_out import HeldOut
from recsys_dist.evaluation.ranking import Liked, rank_held_out
from recsys_dist.evaluation.report import (
    Allowed,
    Calibration,
    Errors,
    EvaluatedDataset,
    EvaluatedModel,
    EvaluationReport,
    Seconds,
    TimedErrors,
)
from recsys_dist.inference.catalog import Catalog
from recsys_dist.inference.loading import load_predictor
from recsys_dist.inference.predictor import Predictor
from recsys_dist.metrics import ErrorSums
from recsys_dist.model_folder.folder import ModelFolder

RANKING_USERS = 20_000
Predict = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.floating]]


def evaluate(
    model_dir: str,
    dataset_url: str,
    split: str = "test",
    relevant_from: float | None = None,
    ranking_users: int = RANKING_USERS,
    device: str = "cpu",
    verify: bool = True,
    allow_train: bool = False,
    allow_other_split: bool = False,
) -> EvaluationReport:
    """Load the model at `model_dir` and `compare` it; `verify` checks the hash of every model file first."""
    start = time.perf_counter()
    _require_finite(relevant_from)
    model, dataset = load_predictor(model_dir, device, verify), Dataset.open(dataset_url)
    load = time.perf_counter() - start
    report = compare(model, dataset, split, relevant_from, ranking_users, allow_train, allow_other_split)
    seconds = report.seconds.model_copy(update={"load": load, "total": time.perf_counter() - start})
    return report.model_copy(update={"seconds": seconds})


def compare(
    model: Predictor,
    dataset: Dataset,
    split: str = "test",
    relevant_from: float | None = None,
    ranking_users: int = RANKING_USERS,
    allow_train: bool = False,
    allow_other_split: bool = False,
) -> EvaluationReport:
    """Compare a model with the held-out ratings of a split (`test` or `valid`).

    Ratings of at least `relevant_from` (None: the train mean) are relevant in the ranking, which covers at most
    `ranking_users` users. Another dataset may contain pairs that the model was trained on: their ratings are left
    out of all figures and reported separately. A dataset with another split needs `allow_other_split`.
    `allow_train` goes with the split `train`, in which all ratings count. Raises `DataError` if the split is empty
    or damaged, `ConfigError` if `relevant_from` is not finite.
    """
    _require_finite(relevant_from)
    start = time.perf_counter()
    catalog, held_out = model.catalog, HeldOut(model.catalog, dataset, split, allow_train, allow_other_split)
    relevant_from = catalog.rating.mean if relevant_from is None else relevant_from
    liked = Liked(relevant_from, len(catalog.user_ids), len(catalog.item_ids))
    found = _compare(model, held_out, liked)
    # Train ratings cannot be ranked: lists leave out items rated in training.
    ranks = ranking_users > 0 and not held_out.is_train
    ranking = rank_held_out(model, liked, held_out.shards(), found.eligible_U, ranking_users) if ranks else None
    return EvaluationReport(
        **Errors.of(found.model.errors).model_dump(),
        split=split,
        baselines={name: one.figures() for name, one in found.baselines.items()},
        cold_users=Errors.of(found.cold_users),
        cold_items=Errors.of(found.cold_items),
        trained_on=Errors.of(found.trained_on),
        ranking=ranking,
        uncertainty=found.calibration.figures(),
        model=_about_model(catalog.folder),
        dataset=EvaluatedDataset(
            url=dataset.folder.url,
            digest=dataset.digest,
            split_fingerprint=dataset.manifest.split.fingerprint,
            is_trained_on=held_out.is_trained_on,
            is_same_split=held_out.is_same_split,
        ),
        allowed=Allowed(train=held_out.is_train, other_split=not held_out.is_same_split),
        seconds=Seconds(
            predict=found.model.seconds,
            uncertainty=found.calibration.seconds,
            load=0.0,
            total=time.perf_counter() - start,
        ),
    )


def _require_finite(relevant_from: float | None) -> None:
    if relevant_from is not None and not math.isfinite(relevant_from):
        raise ConfigError(f"relevant_from {relevant_from} is not a rating; use a finite number")


@dataclass
class _Measured:
    """One predictor, its errors so far and the seconds spent on them."""

    predict: Predict
    seconds: float
    errors: ErrorSums = field(default_factory=ErrorSums)

    def add(self, ratings: Ratings) -> NDArray[np.floating]:
        start = time.perf_counter()
        predicted = self.predict(ratings.user_index, ratings.item_index)
        self.errors += ErrorSums.of(predicted, ratings.rating)
        self.seconds += time.perf_counter() - start
        return predicted

    def figures(self) -> TimedErrors:
        return TimedErrors(**Errors.of(self.errors).model_dump(), seconds=self.seconds)


@dataclass
class _Calibration:
    """Calibration so far and the seconds spent on it; empty for a model without uncertainty."""

    model: Predictor
    seconds: float = 0.0
    sums: CalibrationSums = field(default_factory=CalibrationSums)

    def add(self, ratings: Ratings) -> None:
        if self.model.scorer.uncertainty is None:
            return
        start, limits = time.perf_counter(), self.model.catalog.rating
        pairs = self.model.by_index(ratings.user_index, ratings.item_index)
        mean_N, std_N = self.model.ratings(*pairs, clip=False), self.model.stds(*pairs)
        self.sums += CalibrationSums.of(
            mean_N, std_N, ratings.rating, (limits.min, limits.max), self.model.catalog.grid
        )
        self.seconds += time.perf_counter() - start

    def figures(self) -> Calibration | None:
        return None if self.model.scorer.uncertainty is None else self.sums.figures()


@dataclass
class _Comparison:
    """One pass over the held-out ratings with all predictors."""

    model: _Measured
    baselines: dict[str, _Measured]
    calibration: _Calibration
    eligible_U: NDArray[np.bool_]
    """Whether each user has a relevant held-out rating."""
    cold_users: ErrorSums = field(default_factory=ErrorSums)
    cold_items: ErrorSums = field(default_factory=ErrorSums)
    trained_on: ErrorSums = field(default_factory=ErrorSums)


def _compare(model: Predictor, held_out: HeldOut, liked: Liked) -> _Comparison:
    catalog = model.catalog

    def predict(user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> NDArray[np.floating]:
        return model.ratings(*model.by_index(user_N, item_N))

    found = _Comparison(
        _Measured(predict, seconds=0.0),
        _baselines(catalog),
        _Calibration(model),
        np.zeros(len(catalog.user_ids), np.bool_),
    )
    is_cold_U, is_cold_I = catalog.is_cold("users"), catalog.is_cold("items")
    for ratings, known in held_out.parts():
        found.trained_on += ErrorSums.of(predict(known.user_index, known.item_index), known.rating)
        predicted = found.model.add(ratings)
        for baseline in found.baselines.values():
            baseline.add(ratings)
        found.calibration.add(ratings)
        user_cold, item_cold = is_cold_U[ratings.user_index], is_cold_I[ratings.item_index]
        found.cold_users += ErrorSums.of(predicted[user_cold], ratings.rating[user_cold])
        found.cold_items += ErrorSums.of(predicted[item_cold], ratings.rating[item_cold])
        found.eligible_U[liked.pairs(ratings)[0]] = True
    return found


def _baselines(catalog: Catalog) -> dict[str, _Measured]:
    """Both baselines, fitted on the train ratings in the model folder; clipped like model predictions."""
    start = time.perf_counter()
    mean = mean_rating(partial(_blocks, catalog.folder))
    after_mean = time.perf_counter()
    biases = BiasModel.fit(partial(_blocks, catalog.folder), len(catalog.user_ids), len(catalog.item_ids))
    limits = catalog.rating
    return {
        "global_mean": _Measured(lambda user_N, _item_N: np.full(len(user_N), mean), after_mean - start),
        "user_item_bias": _Measured(
            lambda user_N, item_N: biases.predict(user_N, item_N).clip(limits.min, limits.max),
            time.perf_counter() - after_mean,
        ),
    }


def _blocks(folder: ModelFolder) -> Iterator[Block]:
    return (folder.block(shard) for shard in range(len(folder.manifest.user_shards)))


def _about_model(folder: ModelFolder) -> EvaluatedModel:
    manifest = folder.manifest
    return EvaluatedModel(
        url=folder.folder.url,
        kind=manifest.kind,
        step=manifest.step,
        digest=manifest.contents_digest,
        config=manifest.config,
    )
