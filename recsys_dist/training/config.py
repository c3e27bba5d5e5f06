"""Settings of a training run: `configs/mf.yaml`, `configs/autorec_item.yaml`, `configs/autorec_user.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, model_validator

from recsys_dist.config import Settings, auto_or_number, read_written
from recsys_dist.errors import ConfigError
from recsys_dist.protocols.family import ModelFamily, ModelSettings
from recsys_dist.protocols.registry import add_family, family_named, names
from recsys_dist.settings import Purpose
from recsys_dist.sizes import Size
from recsys_dist.training.trackers.choice import as_names

MOST_SECONDS = 30 * 24 * 3600.0
"""A month: longer than any useful wait, and within the range of socket timeouts."""


class TrainingSettings(Settings):
    """Length of training, limits and logging."""

    epochs: int = Field(default=20, ge=1)
    """Maximum number of epochs; models that converge end earlier."""
    patience: int | None = Field(default=None, ge=1)
    """Early stopping: epochs in a row without a better validation RMSE before training stops; null: never."""
    timeout_s: float = Field(default=600.0, gt=0, le=MOST_SECONDS)
    """Seconds that a rank waits for the others before the run fails."""
    memory_limit: Size | None = Field(default=None, ge=1)
    """Memory of one rank for ratings and for tables of other ranks, such as 4GiB. Beyond it, mf re-reads the
    ratings on every pass and exchanges tables in blocks; null: keep everything in memory. With autorec,
    memory of one rank for parameters, gradients and optimizer: larger models are refused before the start."""
    trackers: Annotated[tuple[str, ...], BeforeValidator(as_names)] = ()
    """Where to show each epoch besides metrics.jsonl: a list of `tensorboard` (in RUN_DIR/tensorboard, on a local
    disk), `mlflow`, `wandb`, each an extra of that name, and of classes of your own as MODULE:CLASS."""

    @model_validator(mode="before")
    @classmethod
    def _reads_runs_of_before_trackers(cls, tree: Any) -> Any:
        """Read `tensorboard: true` or `false`, which configurations of older runs and models have."""
        if not isinstance(tree, Mapping) or "trackers" in tree or not isinstance(tree.get("tensorboard"), bool):
            return tree
        others = {key: value for key, value in tree.items() if key != "tensorboard"}
        return {**others, "trackers": ["tensorboard"] if tree["tensorboard"] else []}


class CheckpointSettings(Settings):
    """When to save checkpoints, and how many to keep."""

    every: Annotated[Literal["auto"] | int, auto_or_number(1)] = "auto"
    """Save every this many epochs; `auto`: once training has taken ten times as long as the last save. The last
    epoch is always saved. Files are written while the next epoch runs, and the checkpoint counts from the end of
    that epoch at the latest, so a kill costs at most one epoch more. A failure that all ranks notice together (not
    finite, a full disk) first saves the best state; a kill or a lost rank costs what came after the last save."""
    keep: int = Field(default=2, ge=1)
    """Newest checkpoints to keep; the best one by validation RMSE is always kept, too."""


def _settings_of_family(tree: Any) -> Any:
    """Parse the keys below `model:` as settings of the family that `kind` names."""
    if not isinstance(tree, Mapping):
        return tree
    if tree.get("kind") is None:
        raise ValueError(f"kind is required; give it in the file or as model.kind=VALUE: {', '.join(names())}")
    try:
        return family_named(str(tree["kind"])).settings.model_validate(tree)
    except ConfigError as error:
        raise ValueError(str(error)) from None


class TrainConfig(Settings):
    """A training configuration file."""

    purpose = Purpose(
        command="train",
        section="model",
        example="mf",
        path_key="dataset",
        others=dict.fromkeys(("input", "items", "ratings", "split", "shards", "output", "cluster"), "prepare"),
    )

    dataset: str = Field(min_length=1)
    """Folder or URL of the prepared dataset."""
    run_dir: str = Field(min_length=1)
    """Folder or URL of the run: its checkpoints, metrics and status."""
    start_from: str | None = None
    """Warm start: RUN_DIR of an earlier run on this dataset or on one that it has grown from (prepare --append).
    New users and items start at the priors (mf) or at their usual initial values (AutoRec)."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of initial values and of everything that is drawn."""
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
        """The settings class of the family that `model.kind` names."""
        model = tree.get("model") if key == "model" else None
        kind = model.get("kind") if isinstance(model, Mapping) else None
        return family_named(kind).settings if kind in names() else None

    def result_settings(self) -> dict[str, Any]:
        """Settings that affect the trained model, as plain values by dotted names."""
        tree = self.model_dump(mode="json")
        model = {key: value for key, value in tree["model"].items() if key not in self.family.rounding_only}
        return {
            **{f"model.{key}": value for key, value in model.items()},
            **{key: tree[key] for key in ("seed", "start_from")},
        }


def load_training(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Load a configuration file; imports a family that `model.kind` names as MODULE:CLASS.

    Raises `ConfigError` that names the key, or the module and what it lacks.
    """
    written = read_written(TrainConfig, path, overrides)
    model = written.tree.get("model")
    if isinstance(model, dict) and ":" in str(model.get("kind")):
        model["kind"] = add_family(str(model["kind"])).name
    return written.settings(TrainConfig)
