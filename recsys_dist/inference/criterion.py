"""Ranking criteria: mean, lower confidence bound, Thompson sample.

    mean        the predicted rating
    lower       mean - z std, with the uncertainty of factors and biases alone: items that are surely good come
                before items that may be good
    thompson    the prediction from one draw of the user's and of all items' factors from their posteriors: now and
                then an item with few ratings comes first (Thompson 1933)

B users of a block, I items
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import NormalDist
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.inference.predictor import Predictor
from recsys_dist.suggestions import did_you_mean

RankBy = Literal["mean", "lower", "thompson"]
RANKINGS: tuple[RankBy, ...] = get_args(RankBy)


def parse_rank_by(text: str) -> RankBy:
    """The criterion of that name. Raises `ConfigError` if there is none."""
    for by in RANKINGS:
        if by == text:
            return by
    raise ConfigError(f"rank_by {text!r} is unknown; use {', '.join(RANKINGS)}{did_you_mean(text, RANKINGS)}")


@dataclass(frozen=True)
class RankingCriterion:
    """How the items of a list are ranked. Raises `ConfigError` for invalid values."""

    by: RankBy = "mean"
    confidence: float = 0.9
    """With `lower`: the probability that the expected rating exceeds the bound; below 0.5 it is an upper bound."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        parse_rank_by(self.by)
        if not isinstance(self.confidence, Real) or not 0 < self.confidence < 1:
            raise ConfigError(f"confidence {self.confidence} is not a number between 0 and 1, such as 0.9")
        if not isinstance(self.seed, Integral) or isinstance(self.seed, bool) or self.seed < 0:
            raise ConfigError(f"seed {self.seed} is not a whole number, 0 or more")

    @property
    def needs_uncertainty(self) -> bool:
        """Whether the criterion needs more than predicted ratings."""
        return self.by != "mean"


Score = Callable[[Any, NDArray[np.int64]], torch.Tensor]
"""(users in the form of the scorer, a key of each user: its index) -> scores of all items: [B, I]"""


def score_by(predictor: Predictor, order: RankingCriterion) -> Score:
    """The function that scores all items for a block of users.

    Raises `ConfigError` if the criterion needs an uncertainty that the model lacks.
    """
    uncertainty = predictor.scorer.uncertainty
    if not order.needs_uncertainty:
        return lambda users, _key_B: predictor.scorer.scores(users)
    if uncertainty is None:
        raise ConfigError(
            f"rank_by {order.by}: {predictor.catalog.url} has no uncertainty; use mean, or train "
            f"kind: mf with posterior: full or diagonal"
        )
    if order.by == "thompson":
        return uncertainty.sampler(order.seed)
    deviations = NormalDist().inv_cdf(order.confidence)
    return lambda users, _key_B: uncertainty.lower_scores(users, deviations)


def users_at_once(predictor: Predictor, order: RankingCriterion, most: int) -> int:
    """Users of a block: `most`, or fewer if the criterion needs more memory."""
    return min(most, predictor.uncertainty.users_at_once) if order.needs_uncertainty else most
