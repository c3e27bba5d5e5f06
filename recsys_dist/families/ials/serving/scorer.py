"""Scorer of iALS: inner products, and the exact fold-in of a user.

N interactions of the user, K factors
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.bilinear.scorer import BilinearForm, BilinearUsers
from recsys_dist.families.ials.serving.facts import IalsFacts
from recsys_dist.model_folder.folder import ModelFolder

GRAM_ROWS = 8192


class IalsScorer(BilinearForm):
    """Implements the protocol of protocols/scorer.py."""

    predicts_ratings = False
    uncertainty = None

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        super().__init__(folder, device, offset=0.0, activation="identity")
        self._facts = folder.facts(IalsFacts)
        # A user whose ratings are no interactions has the vector 0, which ranks nothing.
        vector_RK = self.users.vector_RK
        vector_RK[~vector_RK.any(1)] = vector_RK[-1].clone()

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> BilinearUsers:  # noqa: ARG002
        """Solve the row of the user given the items; without interactions, the average user."""
        target, penalty = self._facts.target, self._facts.penalty
        weight_N = torch.from_numpy(target.weights(rating_N.cpu().numpy())).to(self.device).double()
        count = int((weight_N > 0).sum())
        if not count:
            return self.average_user
        item_NK = self.items.vector_RK[item_N].double()
        matrix_KK = item_NK.T @ (weight_N.unsqueeze(1) * item_NK)
        matrix_KK += penalty.unobserved_weight * self._gram_KK
        (amount,) = penalty.of_rows(np.array([count]), self.items.num_rows).tolist()
        matrix_KK.diagonal().add_(amount)
        vector_K = torch.linalg.solve(matrix_KK, weight_N @ item_NK)
        return BilinearUsers(vector_K.float()[None], self.users.bias_R[-1:])

    def vectors(self, side: Side) -> torch.Tensor:
        """The vectors of users or items."""
        return (self.users if side == "users" else self.items).vector_RK[:-1]

    @cached_property
    def _gram_KK(self) -> torch.Tensor:
        """Gramian of all items: float64"""
        gram_KK = torch.zeros((self.items.width,) * 2, dtype=torch.float64, device=self.device)
        for item_RK in self.items.vector_RK[:-1].split(GRAM_ROWS):
            wide_RK = item_RK.double()
            gram_KK.addmm_(wide_RK.T, wide_RK)
        return gram_KK
