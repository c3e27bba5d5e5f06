"""The settings of a training run: `configs/mf.yaml`, `configs/autorec_item.yaml`, `configs/autorec_user.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from recsys_dist.config import Settings
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.sizes import Size

MOST_SECONDS = 30 * 24 * 3600.0
"""A month: longer than anyone waits, and what timeouts of sockets can hold."""


class TrainingSettings(Settings):
    """How long to train, and what to tell meanwhile."""

    epochs: int = Field(default=20, ge=1)
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs in a row without a better validation RMSE; null trains all epochs."""
    timeout_s: float = Field(default=600.0, gt=0, le=MOST_SECONDS)
    """How long a rank waits for the others before it gives up."""
    memory_limit: Size | None = Field(default=None, ge=1)
    """What one rank may take for ratings and for tables of others, such as 4GiB. Past it mf reads the ratings anew
    on every pass and lets item tables travel in blocks; null: all stays in memory. With autorec, what a rank may
    take for parameters, gradients and optimizer: more is refused before the start."""
    tensorboard: bool = False
    """Write each epoch to RUN_DIR/tensorboard too; needs a local run_dir and the extra `tensorboard`."""


class CheckpointSettings(Settings):
    """When to save, and how much to keep."""

    every: int = Field(default=1, ge=1)
    """Save each so many epochs; the last epoch is always saved."""
    keep: int = Field(default=2, ge=1)
    """Committed checkpoints to keep: the newest ones, and always the best by validation RMSE."""


class TrainConfig(Settings):
    """The whole file."""

    dataset: str = Field(min_length=1)
    run_dir: str = Field(min_length=1)
    start_from: str | None = None
    """RUN_DIR of an earlier run on this dataset or on one that it has grown from (prepare --append): the new run
    begins with what that one has learnt. Users and items that were not there begin at the priors, or in an AutoRec
    where they do in any training."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    model: Annotated[MfSettings | AutorecSettings, Field(discriminator="kind")]
    training: TrainingSettings = TrainingSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()


def result_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration, as plain values, says of the model that comes of it, by dotted names."""
    model = dict(tree.get("model") or {})
    # It changes rounding alone, as the number of ranks does.
    model.pop("parallel", None)
    return {
        **{f"model.{key}": value for key, value in model.items()},
        **{key: tree.get(key) for key in ("seed", "start_from")},
    }
