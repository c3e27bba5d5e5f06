"""Values that iALS in training saves next to its tables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from recsys_dist.errors import CheckpointError
from recsys_dist.families.ials.training.search import PenaltySearch
from recsys_dist.strict_model import StrictModel, validated


class IalsState(StrictModel):
    """The values of a state; the vectors of users and items are its tables."""

    epoch: int = Field(ge=0)
    search: PenaltySearch
    objective: float | None
    """After the last epoch; None before the first, and in a warm start."""
    has_converged: bool

    @classmethod
    def of(cls, values: Mapping[str, JsonValue]) -> IalsState:
        """Parse a saved state. Raises `CheckpointError` if it is not that of iALS."""
        return validated(cls, values, lambda problem: CheckpointError(f"the checkpoint holds no iALS: {problem}"))
