"""The users of the held-out ratings as a model sees them: known from training, or folded in.

U users, N pairs of a user and an item, B users of a block, I items
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.evaluation.fold_in import FoldInRatings
from recsys_dist.inference.predictor import Floats, Index, Predictor
from recsys_dist.inference.seen import SeenPairs
from recsys_dist.protocols.scorer import on_device

KEPT_USERS = 1 << 15
"""Folded-in users that are kept for the ranking after the errors."""


class EvaluatedUsers(ABC):
    """Predictions for users by dense index; the index num_users is an unknown user."""

    folded: Block | None = None
    """The ratings from which users are folded in, by user; None if training knows the users."""

    def __init__(self, model: Predictor) -> None:
        self.model = model

    @property
    @abstractmethod
    def num_known_U(self) -> NDArray[np.int64]:
        """The number of ratings that the model knows of each user, 0 for an unknown one: [U + 1]"""

    @abstractmethod
    def seen(self, user_B: Index) -> SeenPairs:
        """The items of these ratings, which lists leave out."""

    @abstractmethod
    def scores(self, user_B: Index) -> torch.Tensor:
        """Scores of all items: [B, I]"""

    @abstractmethod
    def batches(self, user_N: Index) -> Iterator[tuple[NDArray[np.intp], Any, Index]]:
        """Batches of pairs: their positions, their users in the form of the scorer, and the row of each pair's."""

    def ratings(self, user_N: Index, item_N: Index, clip: bool = True) -> Floats:
        """Predicted ratings: [N]"""
        rating_N = np.empty(len(user_N), np.float32)
        for place, users, row in self.batches(user_N):
            rating_N[place] = self.model.ratings(users, row, item_N[place], clip)
        return rating_N

    def stds(self, user_N: Index, item_N: Index) -> Floats:
        """Standard deviations of ratings around their predictions: [N]"""
        std_N = np.empty(len(user_N), np.float32)
        for place, users, row in self.batches(user_N):
            std_N[place] = self.model.stds(users, row, item_N[place])
        return std_N


class KnownUsers(EvaluatedUsers):
    """The users of training; cold ones too, and the unknown user."""

    @property
    def num_known_U(self) -> NDArray[np.int64]:
        """The number of train ratings."""
        return np.append(self.model.catalog.folder.num_train("users"), 0)

    def seen(self, user_B: Index) -> SeenPairs:
        """The items rated in training."""
        return self.model.catalog.train_ratings.of_users(user_B)

    def scores(self, user_B: Index) -> torch.Tensor:
        """Scores of all items: [B, I]"""
        return self.model.scorer.scores(self.model.known(user_B))

    def batches(self, user_N: Index) -> Iterator[tuple[NDArray[np.intp], Any, Index]]:
        """One batch of all pairs."""
        users, row_N, _ = self.model.by_index(user_N, user_N)
        yield np.arange(len(user_N)), users, row_N


class FoldedInUsers(EvaluatedUsers):
    """Users that were held out whole, each folded in from some of its ratings."""

    def __init__(self, model: Predictor, ratings: FoldInRatings) -> None:
        super().__init__(model)
        self.folded, self._ratings = ratings.block, ratings
        self._kept: dict[int, Any] = {}

    @property
    def num_known_U(self) -> NDArray[np.int64]:
        """The number of folded-in ratings."""
        return np.append(self._ratings.count_U, 0)

    def seen(self, user_B: Index) -> SeenPairs:
        """The folded-in items."""
        return self._ratings.of_users(user_B)

    def scores(self, user_B: Index) -> torch.Tensor:
        """Scores of all items: [B, I]"""
        return torch.cat([self.model.scorer.scores(self._fold_in(user)) for user in user_B.tolist()])

    def batches(self, user_N: Index) -> Iterator[tuple[NDArray[np.intp], Any, Index]]:
        """One batch for each user."""
        if not len(user_N):
            return
        order_N = np.argsort(user_N, kind="stable")
        users, starts = np.unique(user_N[order_N], return_index=True)
        for user, place in zip(users.tolist(), np.split(order_N, starts[1:]), strict=True):
            yield place, self._fold_in(user), np.zeros(len(place), np.int64)

    def _fold_in(self, user: int) -> Any:
        if user in self._kept:
            return self._kept[user]
        item_N, rating_N = self._ratings.of_user(user)
        device = self.model.device
        # A copy, as torch warns of arrays that cannot be written.
        rating = torch.from_numpy(rating_N.copy()).to(device)
        folded = self.model.scorer.fold_in(on_device(item_N, device), rating, is_new=True)
        if len(self._kept) < KEPT_USERS:
            self._kept[user] = folded
        return folded
