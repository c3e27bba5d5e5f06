"""What the training of a neural model saves beside its tables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from recsys_dist.errors import CheckpointError
from recsys_dist.strict_model import StrictModel, validated


class PairState(StrictModel):
    """The values of a state.

    Its tables: `users` and `items` hold the rows of the module's tables, `rest` all other parameters as one
    vector, `buffers` likewise; `optimizer_...` the moments of Adam of each.
    """

    epoch: int = Field(ge=0)
    step: int = Field(ge=0)
    """Batches of the epoch that are done."""
    sums: tuple[tuple[float, float, float], ...]
    """Squared errors, absolute errors and count of the epoch so far, of each rank."""
    optimizer: int = Field(ge=0)
    """Steps of Adam."""
    rest: int = Field(ge=0)
    """Numbers in the table of that name; 0: there is none."""
    buffers: int = Field(ge=0)

    @classmethod
    def of(cls, values: Mapping[str, JsonValue]) -> PairState:
        """From a saved state. Raises `CheckpointError` where it is of something else."""
        return validated(
            cls, values, lambda problem: CheckpointError(f"the checkpoint holds no neural model: {problem}")
        )
