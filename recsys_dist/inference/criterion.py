"""By what the items of a list are ranked: the mean, a bound that the taste of the user exceeds, or a draw.

    mean        the predicted rating
    lower       mean - z std: by the uncertainty of factors and biases alone, so that items that are surely good
                come before those that may be good
    thompson    what one draw of the user's and of all items' factors from their posteriors predicts: now and then
                an item comes first of which little is known (Thompson 1933)

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

RankBy = Literal["mean", "lower", "thompson"]
RANKINGS: tuple[RankBy, ...] = get_args(RankBy)


def parse_rank_by(text: str) -> RankBy:
    """The order of that name. Raises `ConfigError` where there is none."""
    for by in RANKINGS:
        if by == text:
            return by
    raise ConfigError(f"rank_by {text!r} is unknown; use {', '.join(RANKINGS)}")


@dataclass(frozen=True)
class RankingCriterion:
    """What comes first in a list. Raises `ConfigError` for what is no order."""

    by: RankBy = "mean"
    confidence: float = 0.9
    """With `lower`: the probability that the bound is exceeded; below 0.5 it is an upper bound."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        parse_rank_by(self.by)
        if not isinstance(self.confidence, Real) or not 0 < self.confidence < 1:
            raise ConfigError(f"confidence {self.confidence} is not a number between 0 and 1, such as 0.9")
        if not isinstance(self.seed, Integral) or isinstance(self.seed, bool) or self.seed < 0:
            raise ConfigError(f"seed {self.seed} is not a whole number, 0 or more")

    @property
    def needs_uncertainty(self) -> bool:
        """Whether the means are not enough."""
        return self.by != "mean"


Score = Callable[[Any, NDArray[np.int64]], torch.Tensor]
"""From users, as the scorer of the model has them, and a key of each (its index) to scores of all items: [B, I]"""


def score_by(predictor: Predictor, order: RankingCriterion) -> Score:
    """What scores all items for a block of users.

    Raises `ConfigError` where the order needs an uncertainty that the model does not know.
    """
    uncertainty = predictor.scorer.uncertainty
    if not order.needs_uncertainty:
        return lambda users, _key_B: predictor.scorer.scores(users)
    if uncertainty is None:
        raise ConfigError(
            f"rank_by {order.by}: {predictor.catalog.url} does not know how sure it is; use mean, or train "
            f"kind: mf with posterior: full or diagonal"
        )
    if order.by == "thompson":
        return uncertainty.sampler(order.seed)
    deviations = NormalDist().inv_cdf(order.confidence)
    return lambda users, _key_B: uncertainty.lower_scores(users, deviations)


def users_at_once(predictor: Predictor, order: RankingCriterion, most: int) -> int:
    """Users of a block: `most`, or fewer where the order takes more memory."""
    return min(most, predictor.uncertainty.users_at_once) if order.needs_uncertainty else most
