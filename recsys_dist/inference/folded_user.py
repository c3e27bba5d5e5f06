"""A user folded in from ratings that were not in training: predictions and recommendations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from recsys_dist.inference.columns import Values
from recsys_dist.inference.criterion import RankBy, RankingCriterion
from recsys_dist.inference.items.choice import ItemChoice
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.ranker import Ranker

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FoldedUser:
    """A new user, or a known one with more ratings."""

    predictor: Predictor
    users: Any
    """The one user, in the form of the scorer."""
    rated: NDArray[np.int64]
    """Indices of the items that the user has rated."""
    index: int
    """Dense index of a known user; num_users for a new one."""

    def __repr__(self) -> str:
        who = repr(self.user_id) if self.user_id else "new"
        return f"<FoldedUser {who}: {len(self.rated):,} rated items, of {self.predictor!r}>"

    @overload
    def predict(self, item_ids: Values, return_std: Literal[False] = False) -> Floats: ...

    @overload
    def predict(self, item_ids: Values, return_std: Literal[True]) -> tuple[Floats, Floats]: ...

    def predict(self, item_ids: Values, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predicted ratings of raw item ids: [N]; with `return_std`, also their standard deviations.

        Raises `ConfigError` if the model ranks items and predicts no ratings.
        """
        self.predictor.require_ratings()
        pairs = self._pairs(item_ids)
        rating_N = self.predictor.ratings(*pairs)
        return (rating_N, self.predictor.stds(*pairs)) if return_std else rating_N

    def predict_interval(self, item_ids: Values, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Bounds that contain the rating with probability `coverage`, see `Model.predict_interval`: two [N]."""
        return self.predictor.interval(*self._pairs(item_ids), coverage)

    def predict_probabilities(self, item_ids: Values) -> tuple[Floats, Floats]:
        """Probability of each rating on the grid, [N, C], and the grid, [C]: see `Model.predict_probabilities`."""
        return self.predictor.probabilities(*self._pairs(item_ids))

    def recommend(
        self,
        n: int = 10,
        include_seen: bool = False,
        rank_by: RankBy = "mean",
        confidence: float = 0.9,
        seed: int = 0,
        items: Values | None = None,
        exclude: Values | None = None,
    ) -> Recommendations:
        """The n best items that the user has not rated; see `Model.recommend` for criteria and candidates."""
        predictor = self.predictor
        seen = [] if include_seen else [(np.zeros(len(self.rated), np.int64), self.rated)]
        order = RankingCriterion(rank_by, confidence, seed)
        ranker = Ranker(predictor, order, ItemChoice.of(predictor.catalog, items, exclude))
        item_1n, score_1n = ranker.best(self.users, np.array([self.index]), n, seen)
        item_N = item_1n[~score_1n.isneginf()].cpu().numpy()
        pairs = self.users, np.zeros(len(item_N), np.int64), item_N
        std_N = None if predictor.scorer.uncertainty is None else predictor.stds(*pairs)
        return Recommendations(self.user_id, *predictor.catalog.describe(item_N), predictor.ratings(*pairs), std_N)

    @property
    def user_id(self) -> str:
        """Raw id of a known user; empty for a new one."""
        ids = self.predictor.catalog.user_ids
        return "" if self.index == len(ids) else ids.take(np.array([self.index]))[0]

    def _pairs(self, item_ids: Values) -> tuple[Any, NDArray[np.int64], NDArray[np.int64]]:
        item_N = self.predictor.catalog.item_ids.find(item_ids)
        return self.users, np.zeros(len(item_N), np.int64), item_N
