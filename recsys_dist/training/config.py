"""The settings of a training run: `configs/mf.yaml`, `configs/autorec_item.yaml`, `configs/autorec_user.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny

from recsys_dist.config import Settings, read_written
from recsys_dist.errors import ConfigError
from recsys_dist.protocols.family import ModelFamily, ModelSettings
from recsys_dist.protocols.registry import add_family, family_named, names
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


def _settings_of_family(tree: Any) -> Any:
    """The keys below `model:` as the settings of the family that `kind` names."""
    if not isinstance(tree, Mapping):
        return tree
    if tree.get("kind") is None:
        raise ValueError(f"kind is required; give it in the file or as model.kind=VALUE: {', '.join(names())}")
    try:
        return family_named(str(tree["kind"])).settings.model_validate(tree)
    except ConfigError as error:
        raise ValueError(str(error)) from None


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
    model: Annotated[SerializeAsAny[ModelSettings], BeforeValidator(_settings_of_family)]
    training: TrainingSettings = TrainingSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()

    @property
    def family(self) -> ModelFamily[Any]:
        """The family of the model."""
        return family_named(self.model.kind)

    @classmethod
    def settings_below(cls, key: str, tree: Any) -> type[BaseModel] | None:
        """Those of the family that `model.kind` names."""
        kind = (tree.get("model") or {}).get("kind") if key == "model" else None
        return family_named(kind).settings if kind in names() else None

    def result_settings(self) -> dict[str, Any]:
        """What decides on the model that comes of a training, as plain values by dotted names."""
        tree = self.model_dump(mode="json")
        model = {key: value for key, value in tree["model"].items() if key not in self.family.rounding_only}
        return {
            **{f"model.{key}": value for key, value in model.items()},
            **{key: tree[key] for key in ("seed", "start_from")},
        }


def load_training(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration that a person wrote; a family that `model.kind` names as MODULE:CLASS is imported.

    Raises `ConfigError`, one line that names the key, or the module and what it lacks.
    """
    written = read_written(path, overrides)
    model = written.tree.get("model")
    if isinstance(model, dict) and ":" in str(model.get("kind")):
        model["kind"] = add_family(str(model["kind"])).name
    return written.settings(TrainConfig)
