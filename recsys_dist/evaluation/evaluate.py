"""How good a model is on ratings that it never saw, beside two baselines fitted on the same train ratings.

In: a model folder, a prepared dataset. Out: the report, a tree of plain values (`report.json`):

    rmse, mae, count            over all ratings of the split, predictions clipped to the rating range
    cold_users, cold_items      the same over ratings of users (items) without a single train rating
    trained_on                  the same over pairs with a train rating, which count in no other figure; there are
                                none in the dataset that the model was trained on
    baselines                   global_mean and user_item_bias: rmse, mae, count, seconds to fit and predict
    ranking                     recall and ndcg at 10; null where it was not asked for, and on the train ratings
    uncertainty                 coverage of the 50, 80, 90 and 95 % intervals, nll and log_loss: calibration.py;
                                null where the model does not know how sure it is
    allowed                     what is refused unless it is asked for: ratings that were trained on (train),
                                a dataset with another split than that of training (other_split)
    model, dataset, split, seconds

Held-out ratings are only compared with, never put in.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset, Ratings
from recsys_dist.errors import ConfigError
from recsys_dist.evaluation.baselines import BiasModel, mean_rating
from recsys_dist.evaluation.calibration import CalibrationSums
from recsys_dist.evaluation.held_out import HeldOut
from recsys_dist.evaluation.ranking import Liked, rank_held_out
from recsys_dist.inference.lists import write_whole
from recsys_dist.inference.model import Model, load_model
from recsys_dist.metrics import ErrorSums

RANKING_USERS = 20_000
Report = dict[str, Any]
Predictor = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.floating]]


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
) -> Report:
    """Compare the model at `model_dir` with the held-out ratings of a split (`test` or `valid`).

    A rating of at least `relevant_from` (the train mean where None) counts as liked in the ranking, which is done
    for at most `ranking_users` users. `verify` checks the hash of every model file first. Ratings of pairs that
    the model was trained on, which another dataset may hold, are left out of all figures and reported apart; a
    dataset with another split needs `allow_other_split`. `allow_train` goes with the split `train`, all of whose
    ratings count. Raises `DataError` where the split is empty or damaged, `ConfigError` where `relevant_from` is
    not finite.
    """
    if relevant_from is not None and not math.isfinite(relevant_from):
        raise ConfigError(f"relevant_from {relevant_from} is no rating; use a finite number")
    start = time.perf_counter()
    model, dataset = load_model(model_dir, device, verify), Dataset.open(dataset_url)
    held_out = HeldOut(model, dataset, split, allow_train, allow_other_split)
    liked = Liked(
        model.manifest.rating.mean if relevant_from is None else relevant_from,
        model.users.num_rows,
        model.items.num_rows,
    )
    loaded = time.perf_counter()
    report = _errors(model, held_out, liked)
    eligible_U = report.pop("eligible")
    # Of train ratings none can be ranked: lists leave out what was rated in training.
    ranks = ranking_users > 0 and not held_out.is_train
    ranking = rank_held_out(model, liked, held_out.shards(), eligible_U, ranking_users) if ranks else None
    report |= {
        "ranking": ranking,
        "split": split,
        "model": _about_model(model),
        "dataset": {
            "url": dataset_url,
            "digest": dataset.digest,
            "split_fingerprint": dataset.manifest.split.fingerprint,
            "is_trained_on": held_out.is_trained_on,
            "is_same_split": held_out.is_same_split,
        },
        "allowed": {"train": held_out.is_train, "other_split": not held_out.is_same_split},
    }
    report["seconds"] |= {"load": loaded - start, "total": time.perf_counter() - start}
    plain: Report = _plain(report)
    return plain


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON to a local file."""
    write_whole(path, json.dumps(report, indent=1, allow_nan=False) + "\n")


@dataclass
class _Measured:
    """One predictor, its errors so far and the seconds that they took."""

    predict: Predictor
    seconds: float
    errors: ErrorSums = field(default_factory=ErrorSums)

    def add(self, ratings: Ratings) -> NDArray[np.floating]:
        start = time.perf_counter()
        predicted = self.predict(ratings.user_index, ratings.item_index)
        self.errors += ErrorSums.of(predicted, ratings.rating)
        self.seconds += time.perf_counter() - start
        return predicted


@dataclass
class _Calibration:
    """How well the model knows its errors so far, and the seconds that it took; nothing where it does not know."""

    model: Model
    seconds: float = 0.0
    sums: CalibrationSums = field(default_factory=CalibrationSums)

    def add(self, ratings: Ratings) -> None:
        if not self.model.knows_uncertainty:
            return
        start, limits = time.perf_counter(), self.model.manifest.rating
        pairs = ratings.user_index, ratings.item_index
        mean_N, std_N = self.model.predict_indices(*pairs, clip=False), self.model.std_indices(*pairs)
        self.sums += CalibrationSums.of(mean_N, std_N, ratings.rating, (limits.min, limits.max), self.model.grid)
        self.seconds += time.perf_counter() - start

    def figures(self) -> Report | None:
        return self.sums.figures() if self.model.knows_uncertainty else None


def _errors(model: Model, held_out: HeldOut, liked: Liked) -> Report:
    """One pass over the held-out ratings with all predictors."""
    measured = _Measured(model.predict_indices, seconds=0.0)
    baselines, calibration = _baselines(model), _Calibration(model)
    cold_users, cold_items, trained_on = ErrorSums(), ErrorSums(), ErrorSums()
    is_cold_U, is_cold_I = model.users.is_cold_R.cpu().numpy(), model.items.is_cold_R.cpu().numpy()
    eligible_U = np.zeros(model.users.num_rows, np.bool_)
    for ratings, known in held_out.parts():
        trained_on += ErrorSums.of(model.predict_indices(known.user_index, known.item_index), known.rating)
        predicted = measured.add(ratings)
        for baseline in baselines.values():
            baseline.add(ratings)
        calibration.add(ratings)
        user_cold, item_cold = is_cold_U[ratings.user_index], is_cold_I[ratings.item_index]
        cold_users += ErrorSums.of(predicted[user_cold], ratings.rating[user_cold])
        cold_items += ErrorSums.of(predicted[item_cold], ratings.rating[item_cold])
        eligible_U[liked.pairs(ratings)[0]] = True
    return {
        **_figures(measured.errors),
        "cold_users": _figures(cold_users),
        "cold_items": _figures(cold_items),
        "trained_on": _figures(trained_on),
        "baselines": {name: {**_figures(one.errors), "seconds": one.seconds} for name, one in baselines.items()},
        "uncertainty": calibration.figures(),
        "seconds": {"predict": measured.seconds, "uncertainty": calibration.seconds},
        "eligible": eligible_U,
    }


def _baselines(model: Model) -> dict[str, _Measured]:
    """Both baselines, fitted on the train ratings in the model folder; clipped as the model's predictions are."""
    start = time.perf_counter()
    mean = mean_rating(partial(_blocks, model))
    after_mean = time.perf_counter()
    biases = BiasModel.fit(partial(_blocks, model), model.users.num_rows, model.items.num_rows)
    limits = model.manifest.rating
    return {
        "global_mean": _Measured(lambda user_N, _item_N: np.full(len(user_N), mean), after_mean - start),
        "user_item_bias": _Measured(
            lambda user_N, item_N: biases.predict(user_N, item_N).clip(limits.min, limits.max),
            time.perf_counter() - after_mean,
        ),
    }


def _blocks(model: Model) -> Iterator[Block]:
    return (model.folder.block(shard) for shard in range(len(model.manifest.user_shards)))


def _figures(errors: ErrorSums) -> Report:
    return {"rmse": errors.rmse, "mae": errors.mae, "count": errors.count}


def _about_model(model: Model) -> Report:
    manifest = model.manifest
    return {
        "url": model.folder.folder.url,
        "kind": manifest.kind,
        "step": manifest.step,
        "digest": manifest.contents_digest,
        "config": manifest.config,
    }


def _plain(value: Any) -> Any:
    """The same tree with NaN, the error over no ratings, as null: JSON has none."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
