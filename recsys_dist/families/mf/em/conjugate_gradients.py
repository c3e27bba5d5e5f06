"""Conjugate gradients (Hestenes & Stiefel 1952) for many systems A x = right at once, step by step.

A system is either a column or a row of a table; the inner product `inner` decides which.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Inner = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Inner products of the systems of two tables [R, n]: [n] or [1, n] by column, [R, 1] by row."""


class ConjugateGradients:
    """Solver state. Each iterate is optimal in its Krylov subspace: the error in the A-norm never grows."""

    def __init__(self, residual_Rn: torch.Tensor, inner: Inner, preconditioner_Rn: torch.Tensor) -> None:
        """`residual` is right - A x at the initial x; `preconditioner` is the inverse of the diagonal of A."""
        self._residual_Rn, self._inner, self._preconditioner_Rn = residual_Rn, inner, preconditioner_Rn
        self.direction_Rn = preconditioner_Rn * residual_Rn
        self._product = inner(residual_Rn, self.direction_Rn)

    def step(self, image_Rn: torch.Tensor) -> torch.Tensor:
        """Return the update of x, given A times `direction`: [R, n]. The update of a solved system is 0."""
        length = self._ratio(self._product, self._inner(self.direction_Rn, image_Rn))
        move_Rn = length * self.direction_Rn
        self._residual_Rn = self._residual_Rn - length * image_Rn
        scaled_Rn = self._preconditioner_Rn * self._residual_Rn
        product = self._inner(self._residual_Rn, scaled_Rn)
        self.direction_Rn = scaled_Rn + self._ratio(product, self._product) * self.direction_Rn
        self._product = product
        return move_Rn

    def _ratio(self, above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        """above / below, and 0 for solved systems."""
        ratio = torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)
        return ratio.to(self._residual_Rn.dtype)
