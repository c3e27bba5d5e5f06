"""Values that a neural model in training saves next to its tables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from recsys_dist.errors import CheckpointError
from recsys_dist.strict_model import StrictModel, validated


class PairState(StrictModel):
    """The values of a state.

    Its tables: `users` and `items` hold the rows of the module's tables; `rest` and `buffers` all other parameters
    and buffers, as one vector each; `optimizer_...` the Adam moments of each.
    """

    epoch: int = Field(ge=0)
    step: int = Field(ge=0)
    """Finished batches of the epoch."""
    sums: tuple[tuple[float, float, float], ...]
    """Squared errors, absolute errors and count of the epoch so far, for each rank."""
    optimizer: int = Field(ge=0)
    """Steps of Adam."""
    rest: int = Field(ge=0)
    """Numbers in the table of that name; 0: no such table."""
    buffers: int = Field(ge=0)

    @classmethod
    def of(cls, values: Mapping[str, JsonValue]) -> PairState:
        """Parse a saved state. Raises `CheckpointError` if it is not a neural model."""
        return validated(
            cls, values, lambda problem: CheckpointError(f"the checkpoint holds no neural model: {problem}")
        )
