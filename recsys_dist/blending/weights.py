"""Weights of a blend: by nDCG of its lists, or by least squares of its ratings.

P models, S users, I items, C candidates, N ratings
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
from recsys_dist.metrics import METRICS, list_metrics
from recsys_dist.protocols.scorer import on_device

TOP = 10
GRID = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
"""Weights to try for all models but the best one, in units of the spread of scores."""
SAMPLES, SEED = 25, 0
CANDIDATES = 200
"""Best items of each model for a user; others are not in the lists of a blend."""
BLOCK_SCORES = 1 << 26
"""Scores of one model to hold at once."""


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
    """Weights of a large nDCG@10: means over bootstrap samples of the users of the best weights for each sample.

    The weights that are best for one sample follow its noise; their mean does so less (bagging, Breiman 1996). For
    each sample they climb from the best single model, one coordinate at a time. Scores of each model are in units
    of their spread over items, so that one grid serves all. Raises `DataError` if no user has a relevant held-out
    rating.
    """
    lists = _Lists.of(models, judging, relevant_from)
    whole_S = np.ones(lists.num_users)
    alone = tuple(lists.ndcg(tuple(row_P), whole_S) for row_P in np.eye(len(models)).tolist())
    order = np.argsort(alone)[::-1].tolist()
    draw = np.random.default_rng(SEED)
    samples = draw.multinomial(lists.num_users, whole_S / lists.num_users, SAMPLES)
    mean_P = np.mean([lists.best_weights(order, sample_S) for sample_S in samples], 0)
    blend = lists.ndcg(tuple(mean_P.tolist()), whole_S)
    if blend < alone[order[0]]:
        mean_P, blend = np.eye(len(models))[order[0]], alone[order[0]]
    weight_P = mean_P / lists.spread_P
    # The best single model has weight 1: only proportions matter.
    scaled_P = weight_P / weight_P[order[0]]
    return Fitted(tuple(scaled_P.tolist()), 0.0, alone, blend, judging.description)


@dataclass(frozen=True)
class _Lists:
    """Scores of all models for the candidates of the judged users, and which candidates are relevant."""

    score_PSC: torch.Tensor
    """In units of `spread_P`; -inf in places after the last candidate."""
    hit_SC: torch.Tensor
    num_relevant_S: NDArray[np.int64]
    spread_P: NDArray[np.float64]
    """Mean over users of the standard deviation of scores over unseen items."""
    tried: dict[tuple[float, ...], NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, models: Sequence[Predictor], judging: Judging, relevant_from: float) -> _Lists:
        def relevant(one: JudgedUser) -> NDArray[np.int64]:
            return one.held_out_item_N[one.held_out_rating_N >= np.float32(relevant_from)]

        users = [one for one in judging.users if len(relevant(one))]
        if not users:
            raise DataError(
                f"no held-out rating is at least {relevant_from:.4g}; give the weights as --weights 1,0.5"
            )
        num_items = models[0].catalog.num_items
        width = min(num_items, CANDIDATES * len(models))
        at_once = max(1, BLOCK_SCORES // (num_items * len(models)))
        blocks = [users[start : start + at_once] for start in range(0, len(users), at_once)]
        parts = [_candidates(models, Judging(block, judging.source), width) for block in blocks]
        item_SC, score_PSC = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts], 1)
        spread_P = np.concatenate([part[2] for part in parts], 1).mean(1)
        spread_P[spread_P == 0] = 1
        score_PSC /= torch.from_numpy(spread_P).float()[:, None, None]
        hits = [np.isin(row_C, relevant(one)) for row_C, one in zip(item_SC.numpy(), users, strict=True)]
        num_relevant_S = np.array([len(relevant(one)) for one in users])
        return cls(score_PSC, torch.from_numpy(np.stack(hits)), num_relevant_S, spread_P)

    @property
    def num_users(self) -> int:
        return len(self.num_relevant_S)

    def ndcg(self, weight_P: tuple[float, ...], sample_S: NDArray[np.number]) -> float:
        """Mean nDCG@10 of the lists by these weights, in units of the spread, each user taken so many times."""
        if weight_P not in self.tried:
            # A weight of 0 times a score of -inf is no number.
            chosen = [
                score_SC * weight for weight, score_SC in zip(weight_P, self.score_PSC, strict=True) if weight
            ]
            place_Sn = top_items(torch.stack(chosen).sum(0), TOP)[0]
            is_hit_Sn = self.hit_SC.gather(1, place_Sn).numpy()
            metric_SM = list_metrics(is_hit_Sn, self.num_relevant_S, [place_Sn.shape[1]])[:, 0]
            self.tried[weight_P] = metric_SM[:, METRICS.index("ndcg")]
        return float(self.tried[weight_P] @ sample_S / sample_S.sum())

    def best_weights(self, order: Sequence[int], sample_S: NDArray[np.number]) -> tuple[float, ...]:
        """Climb from the first model of `order` until no other value of one weight gains."""
        best_P = tuple(float(number == order[0]) for number in range(len(order)))
        while True:
            before_P = best_P
            for number in order[1:]:
                tried = [(*best_P[:number], value, *best_P[number + 1 :]) for value in GRID]
                best_P = max([best_P, *tried], key=lambda weight_P: self.ndcg(weight_P, sample_S))
            if best_P == before_P:
                return best_P


def _candidates(
    models: Sequence[Predictor], judging: Judging, width: int
) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.float64]]:
    """Items among the best of any model: [S, C], their scores: [P, S, C], and the spread of all scores: [P, S]."""
    position_N, item_N = (on_device(index, torch.device("cpu")) for index in judging.seen)
    score_PSI = torch.stack([model.scorer.scores(judging.known_to(model)).float().cpu() for model in models])
    score_PSI[:, position_N, item_N] = -torch.inf
    is_best_SI = torch.zeros(score_PSI.shape[1:], dtype=torch.bool, device="cpu")
    for score_SI in score_PSI:
        is_best_SI.scatter_(1, top_items(score_SI, min(CANDIDATES, score_SI.shape[1]))[0], value=True)
    item_SC = is_best_SI.to(torch.uint8).topk(width, dim=1).indices.sort(dim=1).values
    score_PSC = score_PSI.gather(2, item_SC.expand(len(models), -1, -1))
    score_PSC.masked_fill_(~is_best_SI.gather(1, item_SC), -torch.inf)
    return item_SC, score_PSC, np.stack([_spread(score_SI) for score_SI in score_PSI])


def _spread(score_SI: torch.Tensor) -> NDArray[np.float64]:
    """Standard deviation of each user's scores over unseen items: [S]"""
    is_unseen_SI = ~score_SI.isneginf()
    count_S = is_unseen_SI.sum(1).clamp(min=1)
    known_SI = score_SI.where(is_unseen_SI, torch.zeros((), device=score_SI.device))
    mean_S = known_SI.sum(1) / count_S
    square_S = known_SI.square().sum(1) / count_S
    spread_S: NDArray[np.float64] = (square_S - mean_S.square()).clamp(min=0).sqrt().double().numpy()
    return spread_S
