"""Predictions of the bilinear form: f(offset + user_bias[u] + item_bias[i] + user_vector[u] . item_vector[i])

B users of a block, I items, N pairs, K width of the vectors
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.bilinear.factors import GATHER_FLOATS, load_factors
from recsys_dist.families.bilinear.link import OutputLink
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.protocols.portable import Factorization, SideRows
from recsys_dist.protocols.scorer import ItemVectors


@dataclass(frozen=True)
class BilinearUsers:
    """Vectors [B, K] and biases [B]."""

    vector_BK: torch.Tensor
    bias_B: torch.Tensor


@runtime_checkable
class BilinearScorer(Protocol):
    """A scorer whose scores are products of vectors plus biases."""

    @property
    def form(self) -> BilinearForm:
        """Both sides of the form."""

    def means(self, users: Any) -> BilinearUsers:
        """Vectors and biases of users that the scorer knows or has folded in."""


class BilinearForm:
    """Both sides, loaded on one device."""

    predicts_ratings = True

    def __init__(self, folder: ModelFolder, device: torch.device, offset: float, activation: str) -> None:
        self.device, self.offset = device, offset
        self.users = load_factors(folder, "users", device)
        self.items = load_factors(folder, "items", device)
        rating = folder.manifest.rating
        self._link = OutputLink(activation, rating.min, rating.max, offset)

    @property
    def form(self) -> BilinearForm:
        """Itself, see `BilinearScorer`."""
        return self

    def means(self, users: BilinearUsers) -> BilinearUsers:
        """The users as they are, see `BilinearScorer`."""
        return users

    @property
    def is_linear(self) -> bool:
        """Whether ratings are scores plus a term of the user, without an output function."""
        return self._link.kind == "identity"

    @property
    def factorization(self) -> Factorization:
        """Both sides and the output function."""
        return Factorization(self.offset, self._link.sigmoid, self.items.width, self._rows)

    def _rows(self, side: Side, start: int, stop: int) -> SideRows:
        factors = self.users if side == "users" else self.items
        return SideRows(factors.vector_RK[start:stop], factors.bias_R[start:stop])

    def known(self, user_B: torch.Tensor) -> BilinearUsers:
        """Users by index; the index `num_users` is the unknown user."""
        return BilinearUsers(self.users.vector_RK[user_B], self.users.bias_R[user_B])

    @property
    def average_user(self) -> BilinearUsers:
        """The row for unknown users."""
        return BilinearUsers(self.users.vector_RK[-1:], self.users.bias_R[-1:])

    def ratings(self, users: BilinearUsers, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Predicted ratings of pairs, not clipped: [N]"""
        score_N = users.bias_B[row_N] + self.items.bias_R[item_N]
        step = max(1, GATHER_FLOATS // max(1, self.items.width))
        for start in range(0, len(row_N), step):
            part = slice(start, start + step)
            score_N[part] += (users.vector_BK[row_N[part]] * self.items.vector_RK[item_N[part]]).sum(1)
        return self._link.to_ratings(score_N + self.offset)

    def scores(self, users: BilinearUsers) -> torch.Tensor:
        """Scores of all items for each user, up to terms that do not change their order: [B, I]"""
        items = self.item_vectors
        return torch.addmm(items.bias_I, users.vector_BK, items.vector_IK.T)

    @property
    def item_vectors(self) -> ItemVectors:
        """The item side of `scores`."""
        return ItemVectors(self.items.vector_RK[:-1], self.items.bias_R[:-1])

    def user_vectors(self, users: BilinearUsers) -> torch.Tensor:
        """The user side of `scores`: [B, K]"""
        return users.vector_BK
