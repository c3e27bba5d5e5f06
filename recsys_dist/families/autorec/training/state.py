"""Values that an AutoRec in training saves next to its tables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from recsys_dist.errors import CheckpointError
from recsys_dist.families.autorec.training.search import AutorecSearch
from recsys_dist.strict_model import StrictModel, validated


class AutorecState(StrictModel):
    """The values of a state; its tables are the parameters and the optimizer state of each."""

    epoch: int = Field(ge=0)
    step: int = Field(ge=0)
    """Finished batches of the epoch."""
    sums: tuple[tuple[float, float, float], ...]
    """Squared errors, absolute errors and count of the epoch so far, for each rank."""
    optimizer: dict[str, JsonValue] | None
    """None in a warm start, which begins with a fresh optimizer."""
    mean: float
    scale: float = Field(gt=0)
    row_shrinkage: float = Field(ge=0)
    column_shrinkage: float = Field(ge=0)
    search: AutorecSearch
    regularization: float = Field(ge=0)
    implicit_input: float
    length_normalization: float
    mean_length: float

    @classmethod
    def of(cls, values: Mapping[str, JsonValue]) -> AutorecState:
        """Parse a saved state. Raises `CheckpointError` if it is not an AutoRec."""
        return validated(
            cls, values, lambda problem: CheckpointError(f"the checkpoint holds no AutoRec: {problem}")
        )
