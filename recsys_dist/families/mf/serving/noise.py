"""Rating noise: shared by all ratings, or different for each user and item.

r_ui ~ Normal(mu + a_u . z_i, sigma^2 / (alpha_u beta_i))
alpha_u ~ Gamma of shape (nu + n_u) / 2 and mean E[alpha_u], beta_i likewise

R rows of one side, the last one for unknown users or items; n_u train ratings of u
"""

from __future__ import annotations

import numpy as np
import torch

from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.families.mf.serving.facts import MfFacts, precisions_of
from recsys_dist.model_folder.folder import ModelFolder


class RatingNoise:
    """sigma^2, and the precisions of all users and items; 1 with shared noise."""

    def __init__(self, folder: ModelFolder, spec: MfFacts, device: torch.device) -> None:
        self.variance = spec.noise_variance
        dof = {"users": spec.user_precision_dof, "items": spec.item_precision_dof}
        self._device = device
        self._precisions: dict[str, torch.Tensor] = {}
        self._inverses: dict[str, torch.Tensor] = {}
        for side in SIDES:
            prior_dof = dof[side]
            if prior_dof is None or not folder.has_table(precisions_of(side)):
                continue
            precision_R = _read(folder, side).double()
            count_R = torch.zeros_like(precision_R)
            count_R[:-1] = torch.from_numpy(folder.num_train(side).astype(np.float64))
            self._precisions[side] = precision_R.to(device)
            self._inverses[side] = expected_inverse(precision_R, count_R, prior_dof).to(device)

    def precision(self, side: Side, row_N: torch.Tensor) -> torch.Tensor:
        """E[alpha] of N users or items: float64."""
        return self._rows(self._precisions, side, row_N)

    def inverse(self, side: Side, row_N: torch.Tensor) -> torch.Tensor:
        """E[1 / alpha] of N users or items: float64."""
        return self._rows(self._inverses, side, row_N)

    def _rows(self, table: dict[str, torch.Tensor], side: Side, row_N: torch.Tensor) -> torch.Tensor:
        if side in table:
            return table[side][row_N]
        return torch.ones(len(row_N), dtype=torch.float64, device=self._device)


def expected_inverse(precision: torch.Tensor, count: torch.Tensor, dof: float) -> torch.Tensor:
    """E[1 / alpha] of precisions with posterior mean `precision` after `count` ratings.

    alpha ~ Gamma(shape a = (nu + n) / 2, mean E[alpha]):   E[1 / alpha] = a / ((a - 1) E[alpha]),   a > 1

    For a <= 1 this mean is infinite; 1 / E[alpha] replaces it.
    """
    shape = (dof + count) / 2
    widening = torch.where(shape > 1, shape / (shape - 1), torch.ones_like(shape))
    return widening / precision


def _read(folder: ModelFolder, side: Side) -> torch.Tensor:
    chunks = [chunk["precision"] for _, chunk in folder.table(precisions_of(side)).chunks()]
    return torch.cat(chunks)
