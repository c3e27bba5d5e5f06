"""Uncertainty of a matrix factorization: standard deviations of ratings, and scores that take it into account.

B users of a block, I items, b items of a block, N pairs, K width of the vectors, n = K + 1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.families.bilinear.scorer import BilinearForm, BilinearUsers
from recsys_dist.families.mf.serving.covariances import ROW_FLOATS, Covariances, Posterior
from recsys_dist.protocols.scorer import on_device

# Tags in the seeds of the generators. A user's draw depends only on the seed and the user.
ITEM_DRAWS, USER_DRAWS = 1, 2


@dataclass(frozen=True)
class MfUsers:
    """A batch of users, known or folded in."""

    means: BilinearUsers
    posterior: Callable[[torch.Tensor], Posterior] | None
    """Posteriors by position in the batch; None if the model keeps no covariances."""

    def posterior_at(self, row_R: torch.Tensor) -> Posterior:
        """Posteriors of the users at these positions."""
        assert self.posterior is not None, "a model with uncertainty has a covariance for every user"
        return self.posterior(row_R)

    @property
    def posteriors(self) -> Posterior:
        """Posteriors of the whole batch."""
        return self.posterior_at(torch.arange(len(self.means.bias_B), device=self.means.bias_B.device))


class MfUncertainty:
    """Implements the protocol of protocols/scorer.py."""

    def __init__(self, form: BilinearForm, covariances: Covariances) -> None:
        self._form, self._covariances = form, covariances

    @property
    def users_at_once(self) -> int:
        """The largest block of users whose rows stay within `ROW_FLOATS`."""
        return self._covariances.pairs_at_once

    def stds(self, users: MfUsers, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Standard deviations of ratings, including noise: float32 [N]"""
        std_N, step = torch.empty(len(row_N), dtype=torch.float32, device=row_N.device), self.users_at_once
        for start in range(0, len(row_N), step):
            part = slice(start, start + step)
            # Read the posterior of each row once, however many pairs it occurs in.
            user_R, user_place_N = torch.unique(row_N[part], return_inverse=True)
            item_R, item_place_N = torch.unique(item_N[part], return_inverse=True)
            user, item = users.posterior_at(user_R), self._covariances.posterior("items", item_R)
            std_N[part] = self._covariances.variance(user, item, user_place_N, item_place_N).sqrt()
        return std_N

    def lower_scores(self, users: MfUsers, deviations: float) -> torch.Tensor:
        """mean - deviations sqrt(Var[mu + a . z]), by blocks of items: [B, I]"""
        score_BI, posterior = self._form.scores(users.means), users.posteriors
        for item_b in _blocks(self._form.items.num_rows, self.users_at_once):
            item = self._covariances.posterior("items", on_device(item_b, self._form.device))
            variance_Bb = self._covariances.parameter_variances(posterior, item)
            score_BI[:, item_b[0] : item_b[-1] + 1] -= deviations * variance_Bb.sqrt_()
        return score_BI

    def sampler(self, seed: int) -> Callable[[MfUsers, NDArray[np.int64]], torch.Tensor]:
        """Thompson sampling: scores from one draw of all items and one draw per user."""
        vector_IK, bias_I = self._drawn_items(seed)

        def scores(users: MfUsers, key_B: NDArray[np.int64]) -> torch.Tensor:
            return torch.addmm(bias_I, self._drawn_users(users, key_B, seed), vector_IK.T)

        return scores

    def _drawn_items(self, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One draw of all items: vectors [I, K] and biases [I]."""
        items, device = self._form.items, self._form.device
        n, rng = items.width + 1, np.random.default_rng([seed, ITEM_DRAWS])
        drawn_In = items.vector_RK.new_empty((items.num_rows, n))
        for item_b in _blocks(items.num_rows, max(1, ROW_FLOATS // n**2)):
            index_b = on_device(item_b, device)
            noise_bn = rng.standard_normal((len(item_b), n))
            drawn_bn = self._deviations(self._covariances.posterior("items", index_b), noise_bn)
            mean_bn = torch.cat([items.vector_RK[index_b], items.bias_R[index_b].unsqueeze(1)], 1)
            drawn_In[item_b[0] : item_b[-1] + 1] = drawn_bn + mean_bn
        return drawn_In[:, :-1].contiguous(), drawn_In[:, -1].contiguous()

    def _drawn_users(self, users: MfUsers, key_B: NDArray[np.int64], seed: int) -> torch.Tensor:
        """One draw of each user's vector: [B, K]"""
        vector_BK, n = users.means.vector_BK, self._form.users.width + 1
        noise = [np.random.default_rng([seed, USER_DRAWS, key]).standard_normal(n) for key in key_B.tolist()]
        noise_Bn = np.stack(noise) if noise else np.empty((0, n))
        return vector_BK + self._deviations(users.posteriors, noise_Bn)[:, :-1].to(vector_BK.dtype)

    def _deviations(self, posterior: Posterior, noise_Rn: NDArray[np.float64]) -> torch.Tensor:
        """root noise of each row, where root root^T is its covariance: float64 [R, n]"""
        normal_Rn = torch.from_numpy(noise_Rn).to(self._form.device)
        triangle, covariance_RT = self._covariances.triangle, posterior.covariance_RT.double()
        if triangle.is_diagonal:
            return covariance_RT.clamp_min(0).sqrt() * normal_Rn
        return (_roots(triangle.unpack(covariance_RT)) @ normal_Rn.unsqueeze(2)).squeeze(2)


def _roots(covariance_Rnn: torch.Tensor) -> torch.Tensor:
    root_Rnn: torch.Tensor
    root_Rnn, failed_R = torch.linalg.cholesky_ex(covariance_Rnn)
    failed_R = failed_R != 0
    if failed_R.any():
        # Rounding to float32 may make a nearly singular covariance indefinite: clip its negative eigenvalues.
        value_Fn, vector_Fnn = torch.linalg.eigh(covariance_Rnn[failed_R])
        root_Rnn[failed_R] = vector_Fnn * value_Fn.clamp_min(0).sqrt().unsqueeze(1)
    return root_Rnn


def _blocks(num_rows: int, step: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
