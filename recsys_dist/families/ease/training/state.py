"""Values that an EASE in training saves next to its table `items` (weights.py), which it has once it is solved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, JsonValue

from recsys_dist.errors import CheckpointError
from recsys_dist.families.targets import TargetKind
from recsys_dist.strict_model import StrictModel, validated

Method = Literal["exact", "sparse"]


class EaseState(StrictModel):
    """The values of a state."""

    target: TargetKind | None = None
    """Values of interactions; None before they are chosen."""
    regularization: float | None = Field(default=None, gt=0)
    """lambda; None before it is found."""
    user_normalization: float | None = Field(default=None, ge=0)
    """Power of a user's number of interactions by which its values are divided; None before it is found."""
    popularity_discount: float | None = Field(default=None, ge=0)
    """Power of the popularity by which scores are divided; None before it is found."""
    ndcg: float | None = None
    """nDCG at 10 of withheld interactions with these; None without a search."""
    method: Method | None = None
    """The method of the solution; None before it."""
    kept: float | None = Field(default=None, ge=0)
    """Sum of the squares of the weights that were kept; None before the solution."""
    total: float | None = Field(default=None, ge=0)
    """Sum of the squares of all weights; None before the solution."""

    @classmethod
    def of(cls, values: Mapping[str, JsonValue]) -> EaseState:
        """Parse a saved state. Raises `CheckpointError` if it is not an EASE."""
        return validated(cls, values, lambda problem: CheckpointError(f"the checkpoint holds no EASE: {problem}"))

    @property
    def kept_share(self) -> float:
        """Share of |B|^2 that was kept; 1 if all weights are 0, or before the solution."""
        return self.kept / self.total if self.kept is not None and self.total else 1.0
