"""The interface of a trained model: ratings, scores, fold-in and uncertainty, for any family.

B users of a block, I items, N pairs of a user and an item, R rows of one side, K width of their vectors
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import Side

UsersT = TypeVar("UsersT")
"""A model's representation of a batch of users: vectors, posteriors, row numbers. Opaque to everyone but its
scorer; the same for known and folded-in users."""
AskedT_contra = TypeVar("AskedT_contra", contravariant=True)
"""The same type, for interfaces that only take users as arguments."""


class Scorer(Protocol[UsersT]):
    """A trained model, loaded on one device."""

    @property
    def predicts_ratings(self) -> bool:
        """Whether `ratings` predicts ratings. Otherwise the model ranks items, and `ratings` gives the scores by
        which it ranks."""

    @property
    def uncertainty(self) -> Uncertainty[UsersT] | None:
        """Uncertainty of predictions; None if the model has none."""

    def known(self, user_B: torch.Tensor) -> UsersT:
        """Users by dense index; the index `num_users` is the unknown user."""

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> UsersT:
        """One user from ratings (float32) of distinct items in ascending order, possibly none.

        `is_new`: training had no rating of this user.
        """

    def ratings(self, users: UsersT, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Predicted ratings, or scores (see `predicts_ratings`), not clipped: float32 [N]. `row_N` are positions
        in `users`; the item index `num_items` is the unknown item."""

    def scores(self, users: UsersT) -> torch.Tensor:
        """Scores of all items for each user, in the order of the predicted ratings: [B, I]. The caller may modify
        the tensor."""

    def vectors(self, side: Side) -> torch.Tensor | None:
        """One row per user (or item), for cosine similarity: [R, K]; None if the model has none."""


class ItemVectors(NamedTuple):
    """The item side of scores that are products: vectors [I, K] and biases [I], float32."""

    vector_IK: torch.Tensor
    bias_I: torch.Tensor


@runtime_checkable
class ProductScorer(Protocol[AskedT_contra]):
    """A scorer whose `scores` may be products: item bias + user vector . item vector."""

    @property
    def item_vectors(self) -> ItemVectors | None:
        """The item side; None if scores are no products."""

    def user_vectors(self, users: AskedT_contra) -> torch.Tensor:
        """The vectors of users, if there are `item_vectors`: [B, K]"""


class Uncertainty(Protocol[AskedT_contra]):
    """Uncertainty of a model's predictions."""

    @property
    def users_at_once(self) -> int:
        """Largest batch of users for lists, which bounds memory."""

    def stds(self, users: AskedT_contra, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Standard deviations of ratings around their predictions, including noise: [N]"""

    def lower_scores(self, users: AskedT_contra, deviations: float) -> torch.Tensor:
        """Lower confidence bounds: scores minus `deviations` posterior standard deviations, noise apart: [B, I]"""

    def sampler(self, seed: int) -> Callable[[AskedT_contra, NDArray[np.int64]], torch.Tensor]:
        """Thompson sampling: a function from users and a key of each to scores [B, I] from one draw of all
        parameters. A user's draw depends only on `seed` and its key."""


def on_device(index: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """A NumPy index as an int64 tensor on `device`."""
    return torch.from_numpy(np.ascontiguousarray(index, np.int64)).to(device)
