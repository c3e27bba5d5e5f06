"""The penalty of the weights: Lambda of |X - X B|^2 + tr(B^T Lambda B).

Lambda_ii = lambda + d / (1 - d) (X^T X)_ii. The first part is that of EASE. The second is dropout of the input
with probability d, where the expectation over all dropouts is minimised in closed form (Steck 2020, "Autoencoders
that don't overfit towards the identity"): it keeps an item from being predicted from one popular item alone.

n items
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Penalty:
    """lambda and d."""

    regularization: float
    dropout: float

    def of_squares(self, square_n: torch.Tensor) -> torch.Tensor:
        """Lambda of items, from the diagonal of X^T X: [n]"""
        return self.regularization + self.dropout / (1 - self.dropout) * square_n
