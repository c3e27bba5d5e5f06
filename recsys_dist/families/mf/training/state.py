"""Values that a matrix factorization in training saves next to its tables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from recsys_dist.dataset.manifest import Side
from recsys_dist.errors import CheckpointError
from recsys_dist.families.mf.training.search import Search
from recsys_dist.strict_model import StrictModel, validated

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]


class PriorState(StrictModel):
    """Normal(mean, covariance) over the n own entries of one side, and nu of its precision prior."""

    mean: Vector
    covariance: Matrix
    precision_dof: float | None = Field(default=None, gt=0)
    """None if all precisions are 1."""


class MfState(StrictModel):
    """The values of a state; posteriors of users and items are its tables."""

    epoch: int = Field(ge=0)
    mu: float
    noise_variance: float = Field(gt=0)
    unit_variance: float = Field(gt=0)
    search: Search
    user_prior: PriorState
    item_prior: PriorState
    staying: Side
    """The side that stays: families/mf/ranks/rating_matrix.py."""
    staying_sums: Vector | None
    """Sums over all rows of that side for the next epoch; None in a warm start, which solves it again."""

    @classmethod
    def of(cls, values: Mapping[str, JsonValue]) -> MfState:
        """Parse a saved state. Raises `CheckpointError` if it is not a matrix factorization."""
        return validated(
            cls,
            values,
            lambda problem: CheckpointError(f"the checkpoint holds no matrix factorization: {problem}"),
        )

    @property
    def num_factors(self) -> int:
        """K"""
        return len(self.user_prior.mean) - 1

    def prior(self, side: Side) -> PriorState:
        """The prior of users or items."""
        return self.user_prior if side == "users" else self.item_prior
