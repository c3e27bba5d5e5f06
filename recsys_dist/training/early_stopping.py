"""Early stopping: a small state that checkpoints include."""

from __future__ import annotations

from pydantic import Field, JsonValue

from recsys_dist.checkpoint.best import is_as_good
from recsys_dist.errors import CheckpointError
from recsys_dist.strict_model import StrictModel, validated


class EarlyStopping(StrictModel):
    """The best validation RMSE so far, and the number of worse epochs since."""

    best_rmse: float | None = None
    epochs_without_gain: int = Field(default=0, ge=0)

    def after(self, rmse: float | None) -> EarlyStopping:
        """The state after one more epoch; without validation nothing changes."""
        if rmse is None:
            return self
        if is_as_good(rmse, self.best_rmse):
            return EarlyStopping(best_rmse=rmse)
        return EarlyStopping(best_rmse=self.best_rmse, epochs_without_gain=self.epochs_without_gain + 1)

    def is_exhausted(self, patience: int | None) -> bool:
        """Whether training should end."""
        return patience is not None and self.epochs_without_gain >= patience

    @classmethod
    def of(cls, value: JsonValue) -> EarlyStopping:
        """Parse from a checkpoint. Raises `CheckpointError` if it is something else."""
        return validated(
            cls, value, lambda problem: CheckpointError(f"the checkpoint holds no early stopping: {problem}")
        )
