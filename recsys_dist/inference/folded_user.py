"""A user made from ratings that training never saw, ready to predict and recommend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from recsys_dist.checkpoint.model_folder import EncodeFoldIn, PosteriorFoldIn
from recsys_dist.errors import DataError
from recsys_dist.inference.factors import Factors, on_device
from recsys_dist.inference.fold_in import NewUser, fold_in_encode, fold_in_posterior, fold_in_ridge
from recsys_dist.inference.ids import require_same_length
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.recommend import describe, rank_items
from recsys_dist.inference.uncertainty import Belief

if TYPE_CHECKING:
    from recsys_dist.inference.model import Model

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FoldedUser:
    """A new user. `vector` [K], `bias` and, where the model knows it, the packed covariance stand in `user`."""

    model: Model
    user: NewUser
    rated: NDArray[np.int64]
    """Indices of the items that the user has rated."""

    @overload
    def predict(self, item_ids: ArrayLike, return_std: Literal[False] = False) -> Floats: ...

    @overload
    def predict(self, item_ids: ArrayLike, return_std: Literal[True]) -> tuple[Floats, Floats]: ...

    def predict(self, item_ids: ArrayLike, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predicted ratings of raw item ids: [N]; with `return_std` also their standard deviations."""
        item_N = self.model.item_ids.find(item_ids)
        rating_N = self._ratings(item_N)
        return (rating_N, self._stds(item_N)) if return_std else rating_N

    def recommend(self, n: int = 10, include_seen: bool = False) -> Recommendations:
        """The n items with the highest predicted rating, those that the user was folded in with left out."""
        first = np.zeros(1, np.int64)
        seen = [] if include_seen else [(np.zeros(len(self.rated), np.int64), self.rated)]
        item_1n, score_1n = rank_items(self.model, self._as_table(), first, n, seen)
        item_N = item_1n[~score_1n.isneginf()].cpu().numpy()
        std_N = self._stds(item_N) if self.user.covariance_T is not None else None
        return Recommendations("", *describe(self.model, item_N), self._ratings(item_N), std_N)

    def _ratings(self, item_N: NDArray[np.int64]) -> Floats:
        return self.model.predict_from(self._as_table(), np.zeros(len(item_N), np.int64), item_N)

    def _stds(self, item_N: NDArray[np.int64]) -> Floats:
        uncertainty, covariance_T = self.model.uncertainty, self.user.covariance_T
        assert covariance_T is not None, "a model that knows its uncertainty gives a new user a covariance"
        belief = Belief(self.user.vector_K.expand(len(item_N), -1), covariance_T.expand(len(item_N), -1))
        std_N: Floats = uncertainty.variance(belief, self.model.item_belief(item_N)).sqrt().float().cpu().numpy()
        return std_N

    def _as_table(self) -> Factors:
        warm = torch.zeros(1, dtype=torch.bool, device=self.model.device)
        return Factors(self.user.vector_K.unsqueeze(0), self.user.bias.reshape(1), warm)


def fold_in(model: Model, item_ids: ArrayLike, ratings: ArrayLike) -> FoldedUser:
    """See `Model.fold_in`."""
    rating_N = _checked(ratings, model.manifest.rating.min, model.manifest.rating.max)
    item_N = model.item_ids.find(item_ids)
    require_same_length(item_ids=item_N, ratings=rating_N)
    known = item_N < len(model.item_ids)
    # In the order of the items, so that the sums do not depend on the order of the arguments; from behind, so that
    # the last rating of an item counts.
    item_N, place_N = np.unique(item_N[known][::-1], return_index=True)
    return FoldedUser(model, _new_user(model, item_N, rating_N[known][::-1][place_N]), item_N)


def _checked(ratings: ArrayLike, low: float, high: float) -> Floats:
    try:
        rating_N = np.atleast_1d(np.asarray(ratings, np.float32))
    except (TypeError, ValueError):
        raise DataError("ratings must be numbers") from None
    wrong = ~((rating_N >= low) & (rating_N <= high))
    if wrong.any():
        raise DataError(f"rating {rating_N[wrong][0]:g} is outside the range of the data, {low:g} to {high:g}")
    return rating_N


def _new_user(model: Model, item_N: NDArray[np.int64], rating_N: Floats) -> NewUser:
    spec, rating = model.manifest.fold_in, torch.from_numpy(rating_N).to(model.device)
    if isinstance(spec, EncodeFoldIn):
        return fold_in_encode(spec, model.folder, item_N, rating_N, model.device)
    index_N, residual_N = on_device(item_N, model.device), rating - model.manifest.offset
    items_NK, item_bias_N = model.items.vector_RK[index_N], model.items.bias_R[index_N]
    if isinstance(spec, PosteriorFoldIn):
        covariance_NT = model.item_belief(item_N).covariance_NT if model.knows_uncertainty else None
        return fold_in_posterior(spec, items_NK, item_bias_N, covariance_NT, residual_N)
    average = NewUser(model.users.vector_RK[-1], model.users.bias_R[-1])
    return fold_in_ridge(spec, items_NK, residual_N - item_bias_N, average)
