"""Settings of EASE: `model:` in `configs/ease.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys_dist.families.targets import TargetKind
from recsys_dist.protocols.family import ModelSettings

MOST_WHOLE, USUAL_KEEP = 16_384, 4_096
"""Up to so many items all weights are kept, a model of 1.1 GB; with more items the largest of each."""


class EaseSettings(ModelSettings):
    """EASE (Steck 2019): X ~ X B with diag(B) = 0, a linear autoencoder of items in closed form. Ranks items."""

    kind: Literal["ease"] = "ease"
    target: TargetKind | None = "graded"
    """Value of an interaction: `graded` grows with the rating, or with the number of interactions; `liked` is 1
    for ratings of at least the mean and 0 for others; `all` is 1; null tunes it like lambda."""
    regularization: float | None = Field(default=None, gt=0)
    """lambda of |X - X B|^2 + lambda |B|^2; null tunes it on withheld interactions by nDCG at 10."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout of the input, in closed form (Steck 2020): adds d / (1 - d) (X^T X)_ii to lambda for each item. 0:
    plain EASE."""
    user_normalization: float | None = Field(default=None, ge=0, le=1)
    """Divide the values of a user by this power of the number of its interactions in training; null tunes it like
    lambda. 0: plain EASE."""
    popularity_discount: float | None = Field(default=None, ge=0, le=1)
    """Divide the scores of an item by this power of the number of its interactions; null tunes it like lambda. 0:
    plain EASE."""
    method: Literal["auto", "exact", "sparse"] = "auto"
    """`exact` inverts the items x items matrix, shared by the ranks; `sparse` restricts each item to its
    `neighbors`. `auto`: exact if it fits the memory of the ranks."""
    neighbors: int = Field(default=100, ge=1, le=2000)
    """Items that an item is predicted from, with method: sparse."""
    keep: int | None = Field(default=None, ge=1)
    """Largest weights of each item to keep; null keeps all of up to 16,384 items, and 4,096 with more items."""

    def keep_of(self, num_items: int) -> int:
        """How many weights of an item are kept."""
        usual = num_items if num_items <= MOST_WHOLE else USUAL_KEEP
        return min(num_items, usual if self.keep is None else self.keep)
