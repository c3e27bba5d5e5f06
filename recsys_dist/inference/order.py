"""By what the items of a list are ranked: the mean, a bound that the taste of the user exceeds, or a draw.

    mean        the predicted rating
    lower       mean - z std: by the uncertainty of factors and biases alone, so that items that are surely good
                come before those that may be good
    thompson    what one draw of the user's and of all items' factors from their posteriors predicts: now and then
                an item comes first of which little is known (Thompson 1933)

B users of a block, I items, b items of a block, K width of the vectors, n = K + 1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.families.bilinear.factors import on_device
from recsys_dist.families.mf.serving.uncertainty import ROW_FLOATS, Belief

if TYPE_CHECKING:
    from recsys_dist.inference.model import Model

RankBy = Literal["mean", "lower", "thompson"]
RANKINGS: tuple[RankBy, ...] = get_args(RankBy)
# Tags of the generators: a user's draw depends on the seed and on the user alone.
ITEM_DRAWS, USER_DRAWS = 1, 2


def parse_rank_by(text: str) -> RankBy:
    """The order of that name. Raises `ConfigError` where there is none."""
    for by in RANKINGS:
        if by == text:
            return by
    raise ConfigError(f"rank_by {text!r} is unknown; use {', '.join(RANKINGS)}")


@dataclass(frozen=True)
class Order:
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
    def needs_beliefs(self) -> bool:
        """Whether the means are not enough."""
        return self.by != "mean"


@dataclass(frozen=True)
class Asked:
    """B users whom lists are made for; `belief` where the order needs it, `key_B` are their dense indices."""

    vector_BK: torch.Tensor
    belief: Belief | None
    key_B: NDArray[np.int64]


Scorer = Callable[[Asked], torch.Tensor]


def scorer(model: Model, order: Order) -> Scorer:
    """What scores all items for a block of users: [B, I].

    What does not change the order of one user's items is left out: the user's bias, the offset, the activation.
    Raises `ConfigError` where the order needs covariances that the model does not have.
    """
    if order.needs_beliefs and not model.knows_uncertainty:
        raise ConfigError(
            f"rank_by {order.by}: {model.folder.folder.url} does not know how sure it is; use mean, or train "
            f"kind: mf with posterior: full or diagonal"
        )
    if order.by == "lower":
        deviations = NormalDist().inv_cdf(order.confidence)
        return lambda asked: _lower(model, asked, deviations)
    if order.by == "thompson":
        vector_IK, bias_I = _drawn_items(model, order.seed)
        return lambda asked: torch.addmm(bias_I, _drawn_users(model, asked, order.seed), vector_IK.T)
    return lambda asked: _means(model, asked)


def _means(model: Model, asked: Asked) -> torch.Tensor:
    num_items = model.items.num_rows
    return torch.addmm(model.items.bias_R[:num_items], asked.vector_BK, model.items.vector_RK[:num_items].T)


def _lower(model: Model, asked: Asked, deviations: float) -> torch.Tensor:
    """mean - z sqrt(Var[mu + a . z]), by blocks of items."""
    assert asked.belief is not None
    score_BI, step = _means(model, asked), model.uncertainty.pairs_at_once()
    for item_b in _blocks(model.items.num_rows, step):
        variance_Bb = model.uncertainty.parameter_variances(asked.belief, model.item_belief(item_b))
        score_BI[:, item_b[0] : item_b[-1] + 1] -= deviations * variance_Bb.sqrt_()
    return score_BI


def _drawn_items(model: Model, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One draw of all items: vectors [I, K] and biases [I]."""
    n, rng = model.items.width + 1, np.random.default_rng([seed, ITEM_DRAWS])
    drawn_In = model.items.vector_RK.new_empty((model.items.num_rows, n))
    for item_b in _blocks(model.items.num_rows, max(1, ROW_FLOATS // n**2)):
        noise_bn = rng.standard_normal((len(item_b), n))
        bias_b1 = model.items.bias_R[on_device(item_b, model.device)].unsqueeze(1)
        drawn_bn = _deviations(model, model.item_belief(item_b), noise_bn)
        drawn_In[item_b[0] : item_b[-1] + 1] = drawn_bn + torch.cat(
            [model.items.vector_RK[on_device(item_b, model.device)], bias_b1], 1
        )
    return drawn_In[:, :-1].contiguous(), drawn_In[:, -1].contiguous()


def _drawn_users(model: Model, asked: Asked, seed: int) -> torch.Tensor:
    """One draw of each user's vector: [B, K]"""
    assert asked.belief is not None
    n = model.users.width + 1
    noise = [np.random.default_rng([seed, USER_DRAWS, key]).standard_normal(n) for key in asked.key_B.tolist()]
    noise_Bn = np.stack(noise) if noise else np.empty((0, n))
    return asked.vector_BK + _deviations(model, asked.belief, noise_Bn)[:, :-1].to(asked.vector_BK.dtype)


def _deviations(model: Model, belief: Belief, noise_Rn: NDArray[np.float64]) -> torch.Tensor:
    """root noise of each row, with root root^T its covariance: float64 [R, n]"""
    normal_Rn, pairs = torch.from_numpy(noise_Rn).to(model.device), model.uncertainty.pairs
    if pairs.is_diagonal:
        return belief.spread_RT.double().clamp_min(0).sqrt() * normal_Rn
    root_Rnn = _roots(pairs.unpack(belief.spread_RT.double()))
    return (root_Rnn @ normal_Rn.unsqueeze(2)).squeeze(2)


def _roots(covariance_Rnn: torch.Tensor) -> torch.Tensor:
    root_Rnn: torch.Tensor
    root_Rnn, failed_R = torch.linalg.cholesky_ex(covariance_Rnn)
    failed_R = failed_R != 0
    if failed_R.any():
        # Rounded to float32, a matrix of nearly dependent entries may have lost the last of its positive values.
        value_Fn, vector_Fnn = torch.linalg.eigh(covariance_Rnn[failed_R])
        root_Rnn[failed_R] = vector_Fnn * value_Fn.clamp_min(0).sqrt().unsqueeze(1)
    return root_Rnn


def _blocks(num_rows: int, step: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
