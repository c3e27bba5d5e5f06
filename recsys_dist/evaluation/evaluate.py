"""Evaluation of a model on held-out ratings, beside baselines fitted on the same train ratings.

In: a model folder, a prepared dataset. Out: the report (report.py) and the figures of each user (per_user.py).
Held-out ratings are compared with predictions, never used to make them; only users that were held out whole are
folded in from some of theirs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.evaluation.errors import HeldOutErrors, Measured, measure_errors
from recsys_dist.evaluation.held_out import HeldOut
from recsys_dist.evaluation.ranking import Liked, RankedUsers, rank_held_out
from recsys_dist.evaluation.report import (
    Allowed,
    Errors,
    EvaluatedDataset,
    EvaluatedModel,
    EvaluationReport,
    FoldInFigures,
    Seconds,
)
from recsys_dist.evaluation.segment_figures import segment_figures
from recsys_dist.evaluation.segments import Segments
from recsys_dist.evaluation.settings import EvaluationSettings
from recsys_dist.evaluation.users import EvaluatedUsers, FoldedInUsers, KnownUsers
from recsys_dist.inference.predictor import Predictor
from recsys_dist.model_folder.folder import ModelFolder


@dataclass(frozen=True)
class Evaluation:
    """The report on a model, and what it says of each user."""

    report: EvaluationReport
    users: EvaluatedUsers
    errors: HeldOutErrors
    ranked: RankedUsers | None
    """None without a ranking."""


def measure(
    model: Predictor,
    dataset: Dataset,
    settings: EvaluationSettings,
    load_seconds: float = 0.0,
    baselines: dict[str, Measured] | None = None,
) -> Evaluation:
    """Compare a model with the held-out ratings of a split (`test` or `valid`).

    Another dataset may contain pairs that the model was trained on: their ratings are left out of all figures and
    reported separately. A dataset with another split needs `allow_other_split`. `allow_train` goes with the split
    `train`, in which all ratings count. A model that predicts no ratings is only ranked. `baselines` are those of
    another model of the same training, measured before. Raises `DataError` if the split is empty or damaged,
    `ConfigError` for a split that is refused.
    """
    start = time.perf_counter()
    held_out = HeldOut(model.catalog, dataset, settings)
    users = _users(model, held_out)
    liked = _liked(model, dataset, settings)
    item_segments = Segments.of_items(np.append(model.catalog.folder.num_train("items"), 0))
    errors = measure_errors(users, held_out, liked, item_segments, baselines)
    ranking, ranked = None, None
    # Train ratings cannot be ranked: lists leave out items rated in training.
    if settings.ranking_users > 0 and not held_out.is_train:
        ranking, ranked = rank_held_out(
            users, liked, held_out.shards(), errors.eligible_U, settings, item_segments
        )
    report = EvaluationReport(
        **Errors.of(errors.model.errors).model_dump(),
        split=settings.split,
        predicts_ratings=model.scorer.predicts_ratings,
        baselines={name: one.figures() for name, one in errors.baselines.items()},
        cold_users=Errors.of(errors.cold_users),
        cold_items=Errors.of(errors.cold_items),
        trained_on=Errors.of(errors.trained_on),
        ranking=ranking,
        segments=segment_figures(errors, ranked, users.num_known_U),
        fold_in=_fold_in(users, held_out),
        uncertainty=errors.calibration.figures(),
        model=_about_model(model.catalog.folder),
        dataset=_about_dataset(dataset, held_out),
        allowed=Allowed(train=held_out.is_train, other_split=not held_out.is_same_split),
        seconds=Seconds(
            predict=errors.model.seconds,
            uncertainty=errors.calibration.seconds,
            load=load_seconds,
            total=load_seconds + time.perf_counter() - start,
        ),
    )
    return Evaluation(report, users, errors, ranked)


def _users(model: Predictor, held_out: HeldOut) -> EvaluatedUsers:
    if held_out.fold_in_share is None:
        return KnownUsers(model)
    return FoldedInUsers(model, held_out.fold_in_ratings())


def _liked(model: Predictor, dataset: Dataset, settings: EvaluationSettings) -> Liked:
    relevant_from = settings.relevant_from
    if relevant_from is None and dataset.manifest.has_ratings:
        relevant_from = model.catalog.rating.mean
    return Liked(relevant_from, len(model.catalog.user_ids), model.catalog.num_items)


def _fold_in(users: EvaluatedUsers, held_out: HeldOut) -> FoldInFigures | None:
    if held_out.fold_in_share is None:
        return None
    num_known_U = users.num_known_U
    return FoldInFigures(
        share=held_out.fold_in_share, users=int((num_known_U > 0).sum()), ratings=int(num_known_U.sum())
    )


def _about_model(folder: ModelFolder) -> EvaluatedModel:
    manifest = folder.manifest
    return EvaluatedModel(
        url=folder.folder.url,
        kind=manifest.kind,
        step=manifest.step,
        digest=manifest.contents_digest,
        config=manifest.config,
    )


def _about_dataset(dataset: Dataset, held_out: HeldOut) -> EvaluatedDataset:
    return EvaluatedDataset(
        url=dataset.folder.url,
        digest=dataset.digest,
        split_fingerprint=dataset.manifest.split.fingerprint,
        is_trained_on=held_out.is_trained_on,
        is_same_split=held_out.is_same_split,
    )
