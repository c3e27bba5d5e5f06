"""What an AutoRec in training saves beside its tables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from recsys_dist.errors import CheckpointError
from recsys_dist.families.autorec.training.search import AutorecSearch
from recsys_dist.strict_model import StrictModel, validated


class AutorecState(StrictModel):
    """The values of a state; parameters and what the optimizer keeps beside them are its tables."""

    epoch: int = Field(ge=0)
    step: int = Field(ge=0)
    """Batches of the epoch that are done."""
    sums: tuple[tuple[float, float, float], ...]
    """Squared errors, absolute errors and count of the epoch so far, of each rank."""
    optimizer: dict[str, JsonValue] | None
    """None of another run's state, with which an optimizer begins."""
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
        """From a saved state. Raises `CheckpointError` where it is of something else."""
        return validated(
            cls, values, lambda problem: CheckpointError(f"the checkpoint holds no AutoRec: {problem}")
        )
