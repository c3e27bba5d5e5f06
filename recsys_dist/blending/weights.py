"""Weights of a blend: by nDCG of its lists, or by least squares of its ratings.

P models, S users, I items, N ratings
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from recsys_dist.blending.judging import JudgedUser, Judging
from recsys_dist.errors import DataError
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.top import top_items
from recsys_dist.metrics import ndcg_sums
from recsys_dist.protocols.scorer import on_device

TOP = 10
FIRST_STEPS = tuple(2.0**power for power in range(-7, 5))
"""Weights to try for another model, in units of the spread of scores."""
STEPS = (0.0, 0.5, 0.71, 0.84, 1.19, 1.41, 2.0)
"""Factors to try for a weight of a blend."""
ROUNDS = 4


@dataclass(frozen=True)
class Fitted:
    """Weights, and the figure of each model alone and of the blend: nDCG (lists) or RMSE (ratings).

    Weights given by hand have no figures.
    """

    weights: tuple[float, ...]
    intercept: float = 0.0
    alone: tuple[float, ...] | None = None
    blend: float | None = None
    judged_by: str | None = None


def fit_for_ratings(models: Sequence[Predictor], judging: Judging) -> Fitted:
    """Non-negative least squares of the held-out ratings on the models' predictions, with an intercept."""
    rating_N = np.concatenate([one.held_out_rating_N for one in judging.users]).astype(np.float64)
    predicted_NP = np.stack([_predictions(model, judging) for model in models], 1)
    low, high = models[0].catalog.rating.min, models[0].catalog.rating.max
    mean_P, mean = predicted_NP.mean(0), rating_N.mean()
    weight_P, _ = nnls(predicted_NP - mean_P, rating_N - mean)
    intercept = float(mean - mean_P @ weight_P)

    def rmse(values_N: NDArray[np.float64]) -> float:
        return float(np.sqrt(np.mean((values_N.clip(low, high) - rating_N) ** 2)))

    alone = tuple(rmse(predicted_NP[:, number]) for number in range(len(models)))
    blended = rmse(predicted_NP @ weight_P + intercept)
    return Fitted(tuple(weight_P.tolist()), intercept, alone, blended, judging.description)


def _predictions(model: Predictor, judging: Judging) -> NDArray[np.float64]:
    """Predicted ratings of all held-out ratings, user after user, not clipped: [N]"""
    row_N = np.repeat(np.arange(len(judging.users)), [len(one.held_out_item_N) for one in judging.users])
    item_N = np.concatenate([one.held_out_item_N for one in judging.users])
    return model.ratings(judging.known_to(model), row_N, item_N, clip=False).astype(np.float64)


def fit_for_lists(models: Sequence[Predictor], judging: Judging, relevant_from: float) -> Fitted:
    """Coordinate search for the weights with the largest nDCG@10, beginning with the best single model.

    Scores of each model are in units of their spread over items, so that one grid of weights serves all. Raises
    `DataError` if no user has a relevant held-out rating.
    """
    lists = _Lists.of(models, judging, relevant_from)
    spread_P = lists.spread_P
    alone = tuple(lists.ndcg(row_P) for row_P in np.eye(len(models)))
    order = np.argsort(alone)[::-1].tolist()
    weight_P = np.zeros(len(models))
    weight_P[order[0]] = 1 / spread_P[order[0]]
    best = alone[order[0]]
    for number in order[1:]:
        weight_P, best = lists.better(weight_P, best, number, [step / spread_P[number] for step in FIRST_STEPS])
    for _ in range(ROUNDS):
        before = best
        for number in order[1:]:
            weight_P, best = lists.better(weight_P, best, number, [step * weight_P[number] for step in STEPS])
        if best <= before:
            break
    # The best single model has weight 1: only proportions matter.
    scaled_P = weight_P / weight_P[order[0]]
    return Fitted(tuple(scaled_P.tolist()), 0.0, alone, best, judging.description)


@dataclass(frozen=True)
class _Lists:
    """Scores of all models for the judged users, and which items are relevant."""

    score_PSI: Sequence[torch.Tensor]
    hit_SI: torch.Tensor
    num_relevant_S: NDArray[np.int64]
    tried: dict[tuple[float, ...], float] = field(default_factory=dict)

    @classmethod
    def of(cls, models: Sequence[Predictor], judging: Judging, relevant_from: float) -> _Lists:
        def is_relevant(one: JudgedUser) -> NDArray[np.bool_]:
            return one.held_out_rating_N >= relevant_from

        users = [one for one in judging.users if is_relevant(one).any()]
        if not users:
            raise DataError(
                f"no held-out rating is at least {relevant_from:.4g}; give the weights as --weights 1,0.5"
            )
        judging = Judging(users, judging.source)
        position_N, item_N = (on_device(index, torch.device("cpu")) for index in judging.seen)
        score_PSI = []
        for model in models:
            score_SI = model.scorer.scores(judging.known_to(model)).float().cpu()
            score_SI[position_N, item_N] = -torch.inf
            score_PSI.append(score_SI)
        hit_SI = torch.zeros(score_PSI[0].shape, dtype=torch.bool, device="cpu")
        for row, one in enumerate(users):
            hit_SI[row, on_device(one.held_out_item_N[is_relevant(one)], hit_SI.device)] = True
        return cls(score_PSI, hit_SI, hit_SI.sum(1).numpy())

    @property
    def spread_P(self) -> list[float]:
        """Mean over users of the standard deviation of scores over unseen items."""
        return [_spread(score_SI) for score_SI in self.score_PSI]

    def ndcg(self, weight_P: NDArray[np.float64]) -> float:
        """Mean nDCG@10 of the lists by these weights."""
        key = tuple(weight_P.tolist())
        if key not in self.tried:
            parts = [weight * score for weight, score in zip(key, self.score_PSI, strict=True) if weight]
            total_SI = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
            item_Sn, _ = top_items(total_SI, TOP)
            hit_Sn = self.hit_SI.gather(1, item_Sn).numpy()
            total, users = ndcg_sums(hit_Sn, self.num_relevant_S).tolist()
            self.tried[key] = total / users
        return self.tried[key]

    def better(
        self, weight_P: NDArray[np.float64], best: float, number: int, values: Sequence[float]
    ) -> tuple[NDArray[np.float64], float]:
        """The best of these values for the weight of one model; the weights as they are if none gains."""
        for value in values:
            changed_P = weight_P.copy()
            changed_P[number] = value
            if (figure := self.ndcg(changed_P)) > best:
                weight_P, best = changed_P, figure
        return weight_P, best


def _spread(score_SI: torch.Tensor) -> float:
    is_unseen_SI = ~score_SI.isneginf()
    count_S = is_unseen_SI.sum(1).clamp(min=1)
    known_SI = score_SI.where(is_unseen_SI, torch.zeros((), device=score_SI.device))
    mean_S = known_SI.sum(1) / count_S
    square_S = known_SI.square().sum(1) / count_S
    spread = float((square_S - mean_S.square()).clamp(min=0).sqrt().mean())
    return spread or 1.0
