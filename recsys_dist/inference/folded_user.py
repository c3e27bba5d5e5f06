"""A user made from ratings that training never saw, ready to predict and recommend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.families.autorec.serving.fold_in import NewUser, fold_in_encode, fold_in_ridge
from recsys_dist.families.autorec.serving.short_rows import ShortRows
from recsys_dist.families.bilinear.factors import Factors, on_device
from recsys_dist.families.mf.serving.fold_in import RatedItems, solve_posterior
from recsys_dist.families.mf.serving.noise import expected_inverse
from recsys_dist.families.mf.serving.uncertainty import Belief
from recsys_dist.inference.columns import Values
from recsys_dist.inference.grid import central_interval
from recsys_dist.inference.ids import require_same_length
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.order import Asked, Order, RankBy, scorer
from recsys_dist.inference.ratings import as_ratings
from recsys_dist.inference.recommend import best_items, describe
from recsys_dist.model_folder.folder import EncodeFoldIn, PosteriorFoldIn, patterns_of

if TYPE_CHECKING:
    from recsys_dist.inference.model import Model

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FoldedUser:
    """A new user, or a known one with more ratings; what is known of its taste stands in `user`."""

    model: Model
    user: NewUser
    rated: NDArray[np.int64]
    """Indices of the items that the user has rated."""
    index: int
    """Dense index of a known user; of a new one, that of the unknown."""

    def __repr__(self) -> str:
        who = repr(self.user_id) if self.user_id else "new"
        return f"<FoldedUser {who}: {len(self.rated):,} rated items, of {self.model!r}>"

    @overload
    def predict(self, item_ids: Values, return_std: Literal[False] = False) -> Floats: ...

    @overload
    def predict(self, item_ids: Values, return_std: Literal[True]) -> tuple[Floats, Floats]: ...

    def predict(self, item_ids: Values, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predicted ratings of raw item ids: [N]; with `return_std` also their standard deviations."""
        item_N = self.model.item_ids.find(item_ids)
        rating_N = self._ratings(item_N)
        return (rating_N, self._stds(item_N)) if return_std else rating_N

    def predict_interval(self, item_ids: Values, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Bounds that hold the rating with probability `coverage`, see `Model.predict_interval`: two [N]."""
        item_N, limits = self.model.item_ids.find(item_ids), self.model.manifest.rating
        mean_N, std_N = self._ratings(item_N, clip=False), self._stds(item_N)
        return central_interval(mean_N, std_N, coverage, limits.min, limits.max)

    def predict_probabilities(self, item_ids: Values) -> tuple[Floats, Floats]:
        """How probable each rating of the grid is, [N, C], and the grid [C]: see `Model.predict_probabilities`."""
        item_N = self.model.item_ids.find(item_ids)
        return self.model.probabilities_of(self._ratings(item_N, clip=False), self._stds(item_N))

    def recommend(
        self,
        n: int = 10,
        include_seen: bool = False,
        rank_by: RankBy = "mean",
        confidence: float = 0.9,
        seed: int = 0,
    ) -> Recommendations:
        """The n best items, those that the user has rated left out; the order is that of `Model.recommend`."""
        order = Order(rank_by, confidence, seed)
        seen = [] if include_seen else [(np.zeros(len(self.rated), np.int64), self.rated)]
        score = scorer(self.model, order)
        belief = self._belief() if order.needs_beliefs else None
        asked = Asked(self.user.vector_K.unsqueeze(0), belief, np.array([self.index]))
        item_1n, score_1n = best_items(score(asked), n, seen)
        item_N = item_1n[~score_1n.isneginf()].cpu().numpy()
        std_N = self._stds(item_N) if self.user.spread_T is not None else None
        return Recommendations(self.user_id, *describe(self.model, item_N), self._ratings(item_N), std_N)

    @property
    def user_id(self) -> str:
        """Raw id of a known user; empty of a new one."""
        is_new = self.index == len(self.model.user_ids)
        return "" if is_new else self.model.user_ids.take(np.array([self.index]))[0]

    def _ratings(self, item_N: NDArray[np.int64], clip: bool = True) -> Floats:
        return self.model.predict_from(self._as_table(), np.zeros(len(item_N), np.int64), item_N, clip)

    def _stds(self, item_N: NDArray[np.int64]) -> Floats:
        return self.model.std_from(lambda _row_R: self._belief(), np.zeros(len(item_N), np.int64), item_N)

    def _belief(self) -> Belief:
        assert self.user.spread_T is not None, "a model that knows its uncertainty gives a new user a covariance"
        noise_1 = torch.full((1,), self.user.noise, dtype=torch.float64, device=self.model.device)
        return Belief(self.user.vector_K.unsqueeze(0), self.user.spread_T.unsqueeze(0), noise_1)

    def _as_table(self) -> Factors:
        warm = torch.zeros(1, dtype=torch.bool, device=self.model.device)
        return Factors(self.user.vector_K.unsqueeze(0), self.user.bias.reshape(1), warm)


def fold_in(model: Model, item_ids: Values, ratings: Values, user_id: str | int | None) -> FoldedUser:
    """See `Model.fold_in`."""
    rating_N = as_ratings(ratings, model.manifest.rating.min, model.manifest.rating.max)
    item_N = model.item_ids.find(item_ids)
    require_same_length(item_ids=item_N, ratings=rating_N)
    known, user = item_N < len(model.item_ids), len(model.user_ids)
    item_N, rating_N = item_N[known], rating_N[known]
    if user_id is not None:
        model.require_users([user_id])
        user = int(model.user_ids.find([user_id])[0])
        own_item_M, own_rating_M = model.train_ratings.of_user(user)
        item_N, rating_N = np.concatenate([own_item_M, item_N]), np.concatenate([own_rating_M, rating_N])
    # In the order of the items, so that the sums do not depend on the order of the arguments; from behind, so that
    # the last rating of an item counts.
    item_N, place_N = np.unique(item_N[::-1], return_index=True)
    # Training has seen how few ratings a known user has.
    is_new = user_id is None or bool(model.users.is_cold_R[user])
    return FoldedUser(model, _new_user(model, item_N, rating_N[::-1][place_N], is_new), item_N, user)


def _new_user(model: Model, item_N: NDArray[np.int64], rating_N: Floats, is_new: bool) -> NewUser:
    spec, rating = model.manifest.fold_in, torch.from_numpy(rating_N).to(model.device)
    average = NewUser(model.users.vector_RK[-1], model.users.bias_R[-1])
    if isinstance(spec, EncodeFoldIn):
        share = ShortRows(spec.short_length, spec.short_pull).share(len(item_N)) if is_new else 1.0
        return fold_in_encode(spec, model.folder, item_N, rating_N, average, share)
    residual_N = rating.double() - model.manifest.offset
    if isinstance(spec, PosteriorFoldIn):
        return _posterior(model, spec, item_N, residual_N) if len(item_N) else _prior(model, spec)
    index_N = on_device(item_N, model.device)
    return fold_in_ridge(spec, model.items.vector_RK[index_N], residual_N - model.items.bias_R[index_N], average)


def _prior(model: Model, spec: PosteriorFoldIn) -> NewUser:
    """Without ratings: the unknown user."""
    unknown_1 = torch.tensor([model.users.num_rows], device=model.device)
    spread_T = (
        model.uncertainty.belief("users", model.users, unknown_1).spread_RT[0] if model.knows_uncertainty else None
    )
    return NewUser(
        model.users.vector_RK[-1], model.users.bias_R[-1], spread_T, 1.0, _noise(spec, precision=1.0, count=0)
    )


def _posterior(
    model: Model, spec: PosteriorFoldIn, item_N: NDArray[np.int64], residual_N: torch.Tensor
) -> NewUser:
    items, spread_T = _rated_items(model, item_N, residual_N), None
    if model.knows_uncertainty:
        pairs, spread_NT = model.uncertainty.pairs, model.item_belief(item_N).spread_RT.double()
        spread_1T = (items.precision_N.unsqueeze(1) * spread_NT).sum(0, keepdim=True)
        solved = solve_posterior(spec, items, pairs.unpack(spread_1T)[0], pairs.is_diagonal)
        assert solved.covariance_nn is not None
        spread_T = pairs.pack(solved.covariance_nn).float()
    else:
        solved = solve_posterior(spec, items, None, is_diagonal=False)
    mean_n, noise = solved.mean_n.float(), _noise(spec, solved.precision, len(item_N))
    return NewUser(mean_n[:-1], mean_n[-1], spread_T, solved.precision, noise)


def _rated_items(model: Model, item_N: NDArray[np.int64], residual_N: torch.Tensor) -> RatedItems:
    index_N = on_device(item_N, model.device)
    row_N = torch.where(model.items.is_cold_R[index_N], model.items.num_rows, index_N)
    pattern_Nn = None
    if model.folder.has_table(patterns_of("items")):
        pattern_Nn = model.folder.table(patterns_of("items")).take(index_N.cpu())["pattern"].to(model.device)
    return RatedItems(
        model.items.vector_RK[row_N],
        model.items.bias_R[row_N],
        model.noise.precision("items", row_N),
        pattern_Nn,
        residual_N,
    )


def _noise(spec: PosteriorFoldIn, precision: float, count: int) -> float:
    """E[1 / alpha] of a user with `count` ratings."""
    if spec.user_precision_dof is None:
        return 1.0
    numbers = torch.tensor([precision, count], dtype=torch.float64, device="cpu")
    return float(expected_inverse(numbers[0], numbers[1], spec.user_precision_dof))
