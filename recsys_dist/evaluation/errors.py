"""One pass over the held-out ratings: errors of the model and its baselines, by user and by segment.

U users, I items, N ratings, S segments
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
from recsys_dist.dataset.dataset import Ratings
from recsys_dist.evaluation.baselines import BiasModel, mean_rating
from recsys_dist.evaluation.calibration import CalibrationSums
from recsys_dist.evaluation.held_out import HeldOut
from recsys_dist.evaluation.ranking import Liked
from recsys_dist.evaluation.report import Calibration, Errors, TimedErrors
from recsys_dist.evaluation.segments import Segments, ValueSegments
from recsys_dist.evaluation.users import EvaluatedUsers
from recsys_dist.metrics import ErrorSums, GroupedErrors
from recsys_dist.model_folder.folder import ModelFolder

Predict = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.floating]]


@dataclass
class Measured:
    """One predictor, its errors so far and the seconds spent on them."""

    predict: Predict
    seconds: float
    errors: ErrorSums = field(default_factory=ErrorSums)

    def add(self, ratings: Ratings) -> NDArray[np.float64]:
        """Add the errors of ratings, and return predictions minus ratings: [N]"""
        start = time.perf_counter()
        predicted = self.predict(ratings.user_index, ratings.item_index)
        self.errors += ErrorSums.of(predicted, ratings.rating)
        self.seconds += time.perf_counter() - start
        return predicted.astype(np.float64) - ratings.rating

    def figures(self) -> TimedErrors:
        """The figures of the report."""
        return TimedErrors(**Errors.of(self.errors).model_dump(), seconds=self.seconds)


@dataclass
class MeasuredCalibration:
    """Calibration so far and the seconds spent on it; empty for a model without uncertainty."""

    users: EvaluatedUsers
    seconds: float = 0.0
    sums: CalibrationSums = field(default_factory=CalibrationSums)

    def add(self, ratings: Ratings) -> None:
        """Add ratings."""
        model = self.users.model
        if model.scorer.uncertainty is None:
            return
        start, limits = time.perf_counter(), model.catalog.rating
        pairs = ratings.user_index, ratings.item_index
        mean_N, std_N = self.users.ratings(*pairs, clip=False), self.users.stds(*pairs)
        self.sums += CalibrationSums.of(
            mean_N, std_N, ratings.rating, (limits.min, limits.max), model.catalog.grid
        )
        self.seconds += time.perf_counter() - start

    def figures(self) -> Calibration | None:
        """The figures of the report."""
        return None if self.users.model.scorer.uncertainty is None else self.sums.figures()


@dataclass
class HeldOutErrors:
    """The errors over held-out ratings; NaN for a model that predicts no ratings."""

    model: Measured
    baselines: dict[str, Measured]
    are_baselines_measured: bool
    """Whether the baselines have their errors already, from the evaluation of another model."""
    calibration: MeasuredCalibration
    item_segments: Segments
    values: ValueSegments | None
    """None for a model that predicts no ratings."""
    eligible_U: NDArray[np.bool_]
    """Whether each user has a relevant held-out rating."""
    by_user: GroupedErrors
    """The last group is the unknown user."""
    by_item_segment: GroupedErrors
    by_value: GroupedErrors
    cold_users: ErrorSums = field(default_factory=ErrorSums)
    cold_items: ErrorSums = field(default_factory=ErrorSums)
    trained_on: ErrorSums = field(default_factory=ErrorSums)

    def add(self, ratings: Ratings, is_cold_U: NDArray[np.bool_], is_cold_I: NDArray[np.bool_]) -> None:
        """Add ratings that count."""
        error_N = self.model.add(ratings)
        for baseline in () if self.are_baselines_measured else self.baselines.values():
            baseline.add(ratings)
        self.calibration.add(ratings)
        self.by_user.add(ratings.user_index, error_N)
        self.by_item_segment.add(self.item_segments.segment_R[ratings.item_index], error_N)
        if self.values is not None:
            self.by_value.add(self.values.find(ratings.rating), error_N)
        self.cold_users += _sums(error_N[is_cold_U[ratings.user_index]])
        self.cold_items += _sums(error_N[is_cold_I[ratings.item_index]])


def measure_errors(
    users: EvaluatedUsers,
    held_out: HeldOut,
    liked: Liked,
    item_segments: Segments,
    baselines: dict[str, Measured] | None = None,
) -> HeldOutErrors:
    """Predict all held-out ratings with the model and the baselines.

    `baselines` are those of another model of the same training, measured on the same ratings.
    """
    found = _empty(users, item_segments, baselines)
    is_cold_U, is_cold_I = users.num_known_U == 0, users.model.catalog.is_cold("items")
    for ratings, known in held_out.parts():
        trained_on = found.model.predict(known.user_index, known.item_index)
        found.trained_on += _sums(trained_on.astype(np.float64) - known.rating)
        found.add(ratings, is_cold_U, is_cold_I)
        found.eligible_U[liked.pairs(ratings)[0]] = True
    return found


def _empty(users: EvaluatedUsers, item_segments: Segments, baselines: dict[str, Measured] | None) -> HeldOutErrors:
    catalog, predicts = users.model.catalog, users.model.scorer.predicts_ratings
    values = ValueSegments.of(catalog) if predicts else None
    return HeldOutErrors(
        Measured(users.ratings if predicts else _nothing, seconds=0.0),
        (baselines or _baselines(users)) if predicts else {},
        bool(baselines),
        MeasuredCalibration(users),
        item_segments,
        values,
        np.zeros(len(catalog.user_ids), np.bool_),
        by_user=GroupedErrors(len(catalog.user_ids) + 1),
        by_item_segment=GroupedErrors(len(item_segments)),
        by_value=GroupedErrors(0 if values is None else len(values)),
    )


def _nothing(user_N: NDArray[np.int64], _item_N: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.full(len(user_N), math.nan)


def _sums(error_N: NDArray[np.float64]) -> ErrorSums:
    return ErrorSums.of(error_N, np.zeros_like(error_N))


def _baselines(users: EvaluatedUsers) -> dict[str, Measured]:
    """Both baselines, fitted on the train ratings in the model folder; clipped like model predictions."""
    start, catalog = time.perf_counter(), users.model.catalog
    mean = mean_rating(partial(_blocks, catalog.folder))
    after_mean = time.perf_counter()
    num_rows = len(catalog.user_ids), len(catalog.item_ids)
    biases = BiasModel.fit(partial(_blocks, catalog.folder), *num_rows, users.folded)
    limits = catalog.rating
    return {
        "global_mean": Measured(lambda user_N, _item_N: np.full(len(user_N), mean), after_mean - start),
        "user_item_bias": Measured(
            lambda user_N, item_N: biases.predict(user_N, item_N).clip(limits.min, limits.max),
            time.perf_counter() - after_mean,
        ),
    }


def _blocks(folder: ModelFolder) -> Iterator[Block]:
    return (folder.block(shard) for shard in range(len(folder.manifest.user_shards)))
