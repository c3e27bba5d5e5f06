"""Predictive variance of a matrix factorization with `posterior: full` or `diagonal`.

r_ui ~ Normal(mu + a_u . z_i, sigma^2 / (alpha_u beta_i)), a_u = (p_u, b_u, 1), z_i = (q_i, 1, c_i), both normal:

Var[r_ui] = sigma^2 E[1/alpha_u] E[1/beta_i] + E[a]^T Cov_z E[a] + E[z]^T Cov_a E[z] + trace(Cov_a Cov_z)

The constants have no variance, so only own entries contribute: (p_u, 1) multiplies the covariance of (q_i, c_i),
(q_i, 1) the covariance of (p_u, b_u), and the trace runs over the K x K parts of p_u and q_i. All three terms are
sums over pairs (j, k) of own entries, j <= k; pairs off the diagonal count twice. Together they are one dot
product of a row of the user and a row of the item, without unpacking:

    left_u  = ((p_u, 1)_j (p_u, 1)_k + Cov_jk(p_u), Cov_jk(p_u, b_u))
    right_i = (Cov_jk(q_i, c_i), (q_i, 1)_j (q_i, 1)_k)  x  (1 where j = k, else 2)

K factors, n = K + 1 own entries, T pairs: n (n + 1) / 2, or n for the diagonal; N pairs of user and item,
R users or items
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.families.bilinear.scorer import BilinearForm
from recsys_dist.families.mf.serving.facts import covariances_of
from recsys_dist.families.mf.serving.noise import RatingNoise
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.tables import Table

PRODUCT_FLOATS = 1 << 15
"""Numbers gathered at a time per side: few enough for the cache, and too few for torch to split them among
threads, which would then wait for each other."""
LEAST_PAIRS = 64
ROW_FLOATS = 1 << 25
"""Numbers held at a time in the rows of one side: 128 MiB."""


@dataclass(frozen=True)
class Posterior:
    """Normal(mean, covariance) of R users or items, and the noise of their ratings."""

    vector_RK: torch.Tensor
    covariance_RT: torch.Tensor
    """The covariance entries that the model keeps."""
    noise_R: torch.Tensor
    """E[1 / alpha], float64"""

    def at(self, row_R: torch.Tensor) -> Posterior:
        """The posteriors of the given rows."""
        return Posterior(self.vector_RK[row_R], self.covariance_RT[row_R], self.noise_R[row_R])


class Triangle:
    """The stored entries of a covariance [n, n]: the upper triangle row by row, or the diagonal."""

    def __init__(self, n: int, is_diagonal: bool, device: torch.device) -> None:
        self.num_own, self.is_diagonal = n, is_diagonal
        every_n = torch.arange(n, device=device)
        triangle_2T = torch.triu_indices(n, n, device=device)
        self.rows_T: torch.Tensor
        self.columns_T: torch.Tensor
        self.rows_T, self.columns_T = (every_n, every_n) if is_diagonal else triangle_2T
        self._weight_T = 2.0 - (self.rows_T == self.columns_T).float()
        # (j, k) with k < K: neither entry is the bias
        self._among_factors_T = (self.columns_T < n - 1).float()

    @property
    def width(self) -> int:
        """2 T, the length of the rows of the dot product."""
        return 2 * len(self.rows_T)

    def left(self, user: Posterior) -> torch.Tensor:
        """left_u of R users: [R, 2 T]"""
        square_RT = self._squares(user.vector_RK)
        return torch.cat([square_RT + user.covariance_RT * self._among_factors_T, user.covariance_RT], 1)

    def right(self, item: Posterior) -> torch.Tensor:
        """right_i of R items: [R, 2 T]"""
        square_RT = self._squares(item.vector_RK)
        return torch.cat([item.covariance_RT * self._weight_T, square_RT * self._weight_T], 1)

    def _squares(self, vector_RK: torch.Tensor) -> torch.Tensor:
        one_Rn = torch.nn.functional.pad(vector_RK, (0, 1), value=1.0)
        return one_Rn.index_select(1, self.rows_T) * one_Rn.index_select(1, self.columns_T)

    def pack(self, symmetric_nn: torch.Tensor) -> torch.Tensor:
        """The stored entries of one matrix: [n, n] -> [T]"""
        return symmetric_nn[self.rows_T, self.columns_T]

    def unpack(self, covariance_RT: torch.Tensor) -> torch.Tensor:
        """Symmetric matrices from their stored entries: [R, T] -> [R, n, n]"""
        full_Rnn = covariance_RT.new_zeros((len(covariance_RT), self.num_own, self.num_own))
        full_Rnn[:, self.rows_T, self.columns_T] = covariance_RT
        full_Rnn[:, self.columns_T, self.rows_T] = covariance_RT
        return full_Rnn


class Covariances:
    """The covariances of a model, read on demand, and its noise."""

    def __init__(self, folder: ModelFolder, form: BilinearForm, noise: RatingNoise) -> None:
        self.noise, self._factors = noise, {"users": form.users, "items": form.items}
        self._tables: dict[str, Table] = {side: folder.table(covariances_of(side)) for side in SIDES}
        columns = next(iter(self._tables["users"].chunks()))[1]
        self._column = "variance" if "variance" in columns else "covariance"
        self.triangle = Triangle(form.users.width + 1, self._column == "variance", form.device)

    def posterior(self, side: Side, index_R: torch.Tensor) -> Posterior:
        """Posteriors of R users or items; the prior for cold ones."""
        row_R = self._rows(side, index_R)
        return Posterior(
            self._factors[side].vector_RK[row_R], self.of(side, index_R), self.noise.inverse(side, row_R)
        )

    def of(self, side: Side, index_R: torch.Tensor) -> torch.Tensor:
        """The kept entries of R covariances: [R, T]"""
        row_R = self._rows(side, index_R)
        return self._tables[side].take(row_R.cpu())[self._column].to(index_R.device)

    def _rows(self, side: Side, index_R: torch.Tensor) -> torch.Tensor:
        """The rows to read; a cold user or item has the last one, the prior."""
        factors = self._factors[side]
        return torch.where(factors.is_cold_R[index_R], factors.num_rows, index_R)

    @property
    def pairs_at_once(self) -> int:
        """The largest N whose rows on each side stay within `ROW_FLOATS`."""
        return max(1, ROW_FLOATS // self.triangle.width)

    def variance(
        self, user: Posterior, item: Posterior, user_N: torch.Tensor, item_N: torch.Tensor
    ) -> torch.Tensor:
        """Var[r_ui] of N pairs of rows of `user` and `item`: float64 [N]."""
        left_RT, right_RT = self.triangle.left(user), self.triangle.right(item)
        parameters_N = left_RT.new_empty(len(user_N))
        step = max(LEAST_PAIRS, PRODUCT_FLOATS // self.triangle.width)
        for start in range(0, len(user_N), step):
            part = slice(start, start + step)
            left_NT, right_NT = left_RT.index_select(0, user_N[part]), right_RT.index_select(0, item_N[part])
            parameters_N[part] = left_NT.mul_(right_NT).sum(1)
        noise_N = self.noise.variance * user.noise_R[user_N] * item.noise_R[item_N]
        # Rounding may push a tiny variance below zero.
        return noise_N + parameters_N.double().clamp_min_(0)

    def parameter_variances(self, user: Posterior, item: Posterior) -> torch.Tensor:
        """E[(a . z)^2] - (E[a] . E[z])^2 of every user with every item, without rating noise: [B, R]"""
        return (self.triangle.left(user) @ self.triangle.right(item).T).clamp_min_(0)
