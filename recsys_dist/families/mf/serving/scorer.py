"""Scorer of a matrix factorization: posterior means, covariances if the model keeps them, and fold-in."""

from __future__ import annotations

from functools import cached_property, partial

import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.bilinear.scorer import BilinearForm, BilinearUsers
from recsys_dist.families.mf.serving.covariances import Covariances, Posterior
from recsys_dist.families.mf.serving.facts import MfFacts, constraints_of, covariances_of
from recsys_dist.families.mf.serving.fold_in import RatedItems, Solved, solve_posterior
from recsys_dist.families.mf.serving.noise import RatingNoise, expected_inverse
from recsys_dist.families.mf.serving.uncertainty import MfUncertainty, MfUsers
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.tables import Table
from recsys_dist.protocols.portable import Factorization
from recsys_dist.protocols.scorer import ItemVectors


class MfScorer:
    """Implements the protocol of protocols/scorer.py."""

    predicts_ratings = True

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self._folder, self._facts = folder, folder.facts(MfFacts)
        self.form = BilinearForm(folder, device, self._facts.offset, activation="identity")

    @cached_property
    def _noise(self) -> RatingNoise:
        return RatingNoise(self._folder, self._facts, self.form.device)

    @cached_property
    def _item_precision_R(self) -> torch.Tensor:
        """E[beta_i] of all items: float64"""
        every_R = torch.arange(self.form.items.num_rows + 1, device=self.form.device)
        return self._noise.precision("items", every_R)

    @cached_property
    def _item_constraints(self) -> Table | None:
        """What each item adds to the prior mean of a user; None where priors are not constrained."""
        name = constraints_of("items")
        return self._folder.table(name) if self._folder.has_table(name) else None

    @cached_property
    def _covariances(self) -> Covariances | None:
        if not self._folder.has_table(covariances_of("users")):
            return None
        return Covariances(self._folder, self.form, self._noise)

    @cached_property
    def uncertainty(self) -> MfUncertainty | None:
        """None if the model keeps no covariances."""
        return None if self._covariances is None else MfUncertainty(self.form, self._covariances)

    def known(self, user_B: torch.Tensor) -> MfUsers:
        """Users by index; covariances are read on demand."""
        posterior = None
        if self._covariances is not None:
            posterior = partial(_posterior_of_known, self._covariances, user_B)
        return MfUsers(self.form.known(user_B), posterior)

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> MfUsers:  # noqa: ARG002
        """The posterior given the ratings; without ratings, the prior."""
        if not len(item_N):
            return self._prior()
        items = self._rated_items(item_N, rating_N.double() - self._facts.offset)
        covariances = self._covariances
        if covariances is None:
            return MfUsers(_means(solve_posterior(self._facts, items, None, is_diagonal=False)), None)
        triangle, covariance_NT = (
            covariances.triangle,
            covariances.of("items", item_N).double(),
        )
        covariance_1T = (items.precision_N.unsqueeze(1) * covariance_NT).sum(0, keepdim=True)
        solved = solve_posterior(self._facts, items, triangle.unpack(covariance_1T)[0], triangle.is_diagonal)
        assert solved.covariance_nn is not None, "with item covariances, the user has a covariance too"
        noise_1 = self._noise_of_new(solved.precision, len(item_N))
        return _folded(_means(solved), triangle.pack(solved.covariance_nn).float().unsqueeze(0), noise_1)

    def ratings(self, users: MfUsers, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Predicted ratings: [N]"""
        return self.form.ratings(users.means, row_N, item_N)

    def scores(self, users: MfUsers) -> torch.Tensor:
        """Scores of all items for each user: [B, I]"""
        return self.form.scores(users.means)

    @property
    def item_vectors(self) -> ItemVectors:
        """The item side of `scores`."""
        return self.form.item_vectors

    def user_vectors(self, users: MfUsers) -> torch.Tensor:
        """The user side of `scores`: [B, K]"""
        return users.means.vector_BK

    @property
    def factorization(self) -> Factorization:
        """Posterior means of both sides."""
        return self.form.factorization

    def vectors(self, side: Side) -> torch.Tensor | None:
        """Factors without biases; None if the model has no factors."""
        factors = self.form.users if side == "users" else self.form.items
        return factors.vector_RK[:-1] if factors.width else None

    def means(self, users: MfUsers) -> BilinearUsers:
        """Posterior means."""
        return users.means

    def _prior(self) -> MfUsers:
        if self._covariances is None:
            return MfUsers(self.form.average_user, None)
        unknown_1 = torch.tensor([self.form.users.num_rows], device=self.form.device)
        covariance_1T = self._covariances.posterior("users", unknown_1).covariance_RT
        return _folded(self.form.average_user, covariance_1T, self._noise_of_new(precision=1.0, count=0))

    def _rated_items(self, item_N: torch.Tensor, residual_N: torch.Tensor) -> RatedItems:
        items, constraint_Nn = self.form.items, None
        row_N = torch.where(items.is_cold_R[item_N], items.num_rows, item_N)
        if self._item_constraints is not None:
            constraint_Nn = self._item_constraints.take(item_N.cpu())["constraint"].to(self.form.device)
        precision_N = self._item_precision_R[row_N]
        return RatedItems(items.vector_RK[row_N], items.bias_R[row_N], precision_N, constraint_Nn, residual_N)

    def _noise_of_new(self, precision: float, count: int) -> torch.Tensor:
        """E[1 / alpha] of a user with `count` ratings: float64 [1]"""
        if self._facts.user_precision_dof is None:
            return torch.ones(1, dtype=torch.float64, device=self.form.device)
        numbers = torch.tensor([precision, count], dtype=torch.float64, device="cpu")
        inverse_1 = expected_inverse(numbers[:1], numbers[1:], self._facts.user_precision_dof)
        return inverse_1.to(self.form.device)


def _posterior_of_known(covariances: Covariances, user_B: torch.Tensor, row_R: torch.Tensor) -> Posterior:
    return covariances.posterior("users", user_B[row_R])


def _means(solved: Solved) -> BilinearUsers:
    mean_1n = solved.mean_n.float().unsqueeze(0)
    return BilinearUsers(mean_1n[:, :-1], mean_1n[:, -1])


def _folded(means: BilinearUsers, covariance_1T: torch.Tensor, noise_1: torch.Tensor) -> MfUsers:
    return MfUsers(means, Posterior(means.vector_BK, covariance_1T, noise_1).at)
