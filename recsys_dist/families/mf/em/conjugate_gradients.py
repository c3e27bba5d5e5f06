"""Conjugate gradients (Hestenes & Stiefel 1952) for many systems A x = right at once, step by step.

Each column of a table is one system, or each row: `inner` says which, and where the numbers of a system lie.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Inner = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Inner products of the systems of two tables [R, n]: [n] or [1, n] by column, [R, 1] by row."""


class ConjugateGradients:
    """What it has reached after each step is the best of its subspace: the error in the norm of A never grows."""

    def __init__(
        self, residual_Rn: torch.Tensor, inner: Inner, preconditioner_Rn: torch.Tensor | None = None
    ) -> None:
        """`residual` is right - A x where x starts, `preconditioner` the inverse of the diagonal of A."""
        self._residual_Rn, self._inner, self._preconditioner_Rn = residual_Rn, inner, preconditioner_Rn
        self.direction_Rn = self._preconditioned()
        self._product = inner(residual_Rn, self.direction_Rn)

    def step(self, image_Rn: torch.Tensor) -> torch.Tensor:
        """Given A times `direction`, how far to move x: [R, n]. A system that is solved stays."""
        length = self._ratio(self._product, self._inner(self.direction_Rn, image_Rn))
        move_Rn = length * self.direction_Rn
        self._residual_Rn = self._residual_Rn - length * image_Rn
        scaled_Rn = self._preconditioned()
        product = self._inner(self._residual_Rn, scaled_Rn)
        self.direction_Rn = scaled_Rn + self._ratio(product, self._product) * self.direction_Rn
        self._product = product
        return move_Rn

    def _preconditioned(self) -> torch.Tensor:
        return (
            self._residual_Rn if self._preconditioner_Rn is None else self._preconditioner_Rn * self._residual_Rn
        )

    def _ratio(self, above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        """0 where a system is solved."""
        ratio = torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)
        return ratio.to(self._residual_Rn.dtype)
