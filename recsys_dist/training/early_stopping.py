"""When validation no longer gets better: a small state that travels with the checkpoints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from recsys_dist.checkpoint.best import is_as_good
from recsys_dist.errors import CheckpointError


class EarlyStopping(BaseModel):
    """The best validation RMSE so far, and the epochs in a row since that were worse."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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

    def to_json(self) -> dict[str, JsonValue]:
        """The state as plain values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: JsonValue) -> EarlyStopping:
        """The state that `to_json` wrote; raises `CheckpointError` where it is something else."""
        try:
            return cls.model_validate(value)
        except ValidationError:
            raise CheckpointError(f"the checkpoint holds no early stopping state but {value!r}") from None
