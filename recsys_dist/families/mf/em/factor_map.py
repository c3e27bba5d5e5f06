"""Maps of own entries that change the number of factors and leave predictions alone, or almost.

For any invertible T, p . q = (T p) . (T^-T q). With the priors' covariances Cov(p) = L L^T and
L^T Cov(q) L = U S^2 U^T, the principal axes are

    T = S^1/2 U^T L^-1            T Cov(p) T^T = T^-T Cov(q) T^-1 = S

so that factor k adds S_k^2 to the variance of the ratings. Of a factor that is removed, with prior means p and q,

    p_k q_k = q p_k + p q_k - p q + (p_k - p) (q_k - q)

the first three terms go to the biases, and the last one is lost.

Shapes: see layout.py; m = K' + 1 own entries after the change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.kernels.one_thread import one_thread

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class FactorMap:
    """x' = matrix x + shift, for the own entries x = (factors, bias) of one side; float64."""

    matrix_mn: torch.Tensor
    shift_m: torch.Tensor

    def of_prior(self, prior: Prior) -> Prior:
        """The prior of x'."""
        with one_thread():
            covariance_mm = self.matrix_mn @ prior.covariance_nn @ self.matrix_mn.T
            return Prior(self.matrix_mn @ prior.mean_n + self.shift_m, covariance_mm)

    def of_columns(self, columns: dict[str, torch.Tensor], of_other_side: FactorMap) -> dict[str, torch.Tensor]:
        """Columns of a saved table, see FactorSide.columns: means, covariances or variances, and constraints.

        Constraints shift the prior means of the other side, so that they change with its entries.
        """
        changed = dict(columns)
        changed["mean"] = self._rows(columns["mean"]) + self.shift_m.float()
        if "constraint" in columns:
            changed["constraint"] = of_other_side._rows(columns["constraint"])
        if "covariance" in columns:
            changed["covariance"] = self._covariances(columns["covariance"])
        if "variance" in columns:
            changed["variance"] = self._variances(columns["variance"])
        return changed

    def _rows(self, rows_Rn: torch.Tensor) -> torch.Tensor:
        """matrix x of each row."""
        changed_Rm = rows_Rn.new_empty((len(rows_Rn), len(self.matrix_mn)))
        for part_Bm, rows_Bn in zip(changed_Rm.split(ROWS_AT_ONCE), rows_Rn.split(ROWS_AT_ONCE), strict=True):
            part_Bm.copy_(self._product(rows_Bn.double().unsqueeze(2)).squeeze(2))
        return changed_Rm

    def _covariances(self, packed_RT: torch.Tensor) -> torch.Tensor:
        """matrix Cov matrix^T of each row, as upper triangles row by row."""
        (m, n), device = self.matrix_mn.shape, packed_RT.device
        row_T, column_T = torch.triu_indices(n, n, device=device)
        new_row_T, new_column_T = torch.triu_indices(m, m, device=device)
        changed_RT = packed_RT.new_empty((len(packed_RT), len(new_row_T)))
        for part_BT, packed_BT in zip(changed_RT.split(ROWS_AT_ONCE), packed_RT.split(ROWS_AT_ONCE), strict=True):
            covariance_Bnn = packed_BT.new_empty((len(packed_BT), n, n), dtype=torch.float64)
            covariance_Bnn[:, row_T, column_T] = packed_BT.double()
            covariance_Bnn[:, column_T, row_T] = packed_BT.double()
            half_Bmn = self._product(covariance_Bnn)
            part_BT.copy_(self._product(half_Bmn.transpose(1, 2))[:, new_row_T, new_column_T])
        return changed_RT

    def _variances(self, variance_Rn: torch.Tensor) -> torch.Tensor:
        """The diagonal of matrix diag(variance) matrix^T of each row."""
        return FactorMap(self.matrix_mn.square(), self.shift_m)._rows(variance_Rn)

    def _product(self, rows_BnX: torch.Tensor) -> torch.Tensor:
        """matrix times each of a batch: each product is one of its own, so that its bits depend on no other."""
        with one_thread():
            product_BmX: torch.Tensor = torch.bmm(self.matrix_mn.expand(len(rows_BnX), -1, -1), rows_BnX)
        return product_BmX


@dataclass(frozen=True)
class PrincipalAxes:
    """The principal axes of two priors, the strongest first."""

    user_axes_KK: torch.Tensor
    """U^T L^-1"""
    item_axes_KK: torch.Tensor
    """U^T L^T"""
    scale_K: torch.Tensor
    """S"""
    user_mean_K: torch.Tensor
    item_mean_K: torch.Tensor
    """Prior means along the axes."""

    @classmethod
    def of(cls, users: Prior, items: Prior) -> PrincipalAxes:
        """The axes of the priors of both sides."""
        with one_thread():
            root_KK = torch.linalg.cholesky(users.covariance_nn[:-1, :-1])
            square_K, axes_KK = torch.linalg.eigh(root_KK.T @ items.covariance_nn[:-1, :-1] @ root_KK)
            axes_KK = axes_KK.flip(1)
            user_axes_KK = torch.linalg.solve_triangular(root_KK.T, axes_KK, upper=True).T
            item_axes_KK = axes_KK.T @ root_KK.T
            scale_K = square_K.flip(0).clamp(min=0).sqrt()
            return cls(
                user_axes_KK,
                item_axes_KK,
                scale_K,
                user_axes_KK @ users.mean_n[:-1],
                item_axes_KK @ items.mean_n[:-1],
            )

    def strongest(self, factors: int) -> tuple[FactorMap, FactorMap]:
        """The maps of users and items that keep so many factors."""
        kept, rest = slice(0, factors), slice(factors, None)
        root_k1 = self.scale_K[kept].sqrt().unsqueeze(1)
        user_bias_K = self.item_mean_K[rest] @ self.user_axes_KK[rest]
        item_bias_K = self.user_mean_K[rest] @ self.item_axes_KK[rest]
        constant = self.user_mean_K[rest] @ self.item_mean_K[rest]
        users = _bordered(root_k1 * self.user_axes_KK[kept], user_bias_K)
        items = _bordered(self.item_axes_KK[kept] / root_k1, item_bias_K)
        items.shift_m[-1] = -constant
        return users, items


def _bordered(matrix_kK: torch.Tensor, bias_K: torch.Tensor) -> FactorMap:
    """The map whose new bias is the old one plus `bias` times the factors."""
    k, num_factors = matrix_kK.shape
    matrix_mn = matrix_kK.new_zeros((k + 1, num_factors + 1))
    matrix_mn[:-1, :-1], matrix_mn[-1, :-1] = matrix_kK, bias_K
    matrix_mn[-1, -1] = 1.0
    return FactorMap(matrix_mn, matrix_mn.new_zeros(k + 1))


def widening(factors: int, more: int, device: torch.device) -> FactorMap:
    """The map to `more` factors, of which those beyond `factors` are zero."""
    matrix_mn = torch.zeros((more + 1, factors + 1), dtype=torch.float64, device=device)
    matrix_mn[:factors, :factors].fill_diagonal_(1.0)
    matrix_mn[-1, -1] = 1.0
    return FactorMap(matrix_mn, matrix_mn.new_zeros(more + 1))
