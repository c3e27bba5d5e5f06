"""What a trained model says of users and items, whatever it is inside.

B users of a block, I items, N pairs of a user and an item, R rows of one side, K width of their vectors
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import Side

UsersT = TypeVar("UsersT")
"""A model's own form of some users: vectors, posteriors, row numbers. Only its scorer looks into it; known and
folded-in users have the same form."""
AskedT_contra = TypeVar("AskedT_contra", contravariant=True)
"""The same, of what only takes users."""


class Scorer(Protocol[UsersT]):
    """A trained model, loaded on one device."""

    @property
    def uncertainty(self) -> Uncertainty[UsersT] | None:
        """How sure the model is; None where it does not know."""

    def known(self, user_B: torch.Tensor) -> UsersT:
        """Users by dense index; the number of users stands for one of whom nothing is known."""

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> UsersT:
        """One user from ratings (float32) of distinct items in rising order, perhaps of none.

        `is_new` where training had no rating of this user.
        """

    def ratings(self, users: UsersT, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Predicted ratings, not clipped: float32 [N]. `row_N` counts within `users`; the number of items stands
        for an item of which nothing is known."""

    def scores(self, users: UsersT) -> torch.Tensor:
        """All items for each user: [B, I], numbers that order the items of a user as their ratings do. The caller
        may write into it."""

    def vectors(self, side: Side) -> torch.Tensor | None:
        """One row for each user (or item) to compare by cosine: [R, K]; None where the model has none."""


class Uncertainty(Protocol[AskedT_contra]):
    """How sure a model is of its predictions."""

    @property
    def users_at_once(self) -> int:
        """Users that a list is made for at a time, at most, so that memory stays bounded."""

    def stds(self, users: AskedT_contra, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Standard deviations of the ratings of pairs around their predictions, their noise included: [N]"""

    def lower_scores(self, users: AskedT_contra, deviations: float) -> torch.Tensor:
        """Scores less so many standard deviations of what the model believes, the noise left out: [B, I]"""

    def sampler(self, seed: int) -> Callable[[AskedT_contra, NDArray[np.int64]], torch.Tensor]:
        """Scores by one draw of all parameters (Thompson sampling): from users and a key of each, which with
        `seed` alone decides on its draw, to [B, I]."""


def on_device(index: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """A NumPy index as a tensor there."""
    return torch.from_numpy(np.ascontiguousarray(index, np.int64)).to(device)
