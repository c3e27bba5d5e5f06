"""A family of models, from its settings to its predictions: all that the rest of the program knows of it.

Imports no torch: commands that only read settings start at once. What is heavy, a family imports in its methods.
"""
# ruff: noqa: ARG002 - defaults look at nothing

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import JsonValue

from recsys_dist.config import Settings
from recsys_dist.errors import ConfigError
from recsys_dist.progress import Progress

if TYPE_CHECKING:
    import torch

    from recsys_dist.checkpoint.checkpoint import Checkpoint
    from recsys_dist.checkpoint.state import SavedRun
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.distributed.collectives import Collectives
    from recsys_dist.model_folder.folder import ModelFolder
    from recsys_dist.model_folder.writer import ModelWriter
    from recsys_dist.protocols.scorer import Scorer
    from recsys_dist.protocols.trainer import Trainer
    from recsys_dist.protocols.warm_start import WarmStart


class ModelSettings(Settings):
    """The keys below `model:`; `kind` is the name of the family."""

    kind: str


SettingsT = TypeVar("SettingsT", bound=ModelSettings)


@dataclass(frozen=True)
class TrainingSetup(Generic[SettingsT]):
    """All that a trainer is made of."""

    dataset: Dataset
    settings: SettingsT
    epochs: int
    seed: int
    memory_limit: int | None
    """Bytes that one rank may take, see `training.memory_limit`; None: no limit."""
    collectives: Collectives


class ModelFamily(ABC, Generic[SettingsT]):
    """One kind of model. What is not abstract has a default that is right for a plain model."""

    name: ClassVar[str]
    """What settings, checkpoints and model folders call it."""
    settings: ClassVar[type[ModelSettings]]
    """The keys below `model:`."""
    training_only: ClassVar[frozenset[str]] = frozenset()
    """Settings of how a model is trained, not of what it is: they may differ from those of `start_from`."""
    rounding_only: ClassVar[frozenset[str]] = frozenset()
    """Settings that change rounding alone, as the number of ranks does: they may change when a run goes on."""
    state_beside_model: ClassVar[tuple[str, ...]] = ()
    """Names in a state of what is kept beside the model, such as what an optimizer remembers. Tables of the name
    and an underscore, and values of the name, are left out where models are compared within a tolerance."""
    parity_tolerance: ClassVar[float] = 0.0
    """By how much models trained on other numbers of ranks may differ; 0: not by a bit."""
    has_same_bits_on_any_threads: ClassVar[bool] = False
    """Whether a training may take fewer threads where other programs keep cores busy, and be the same."""

    @abstractmethod
    def trainer(self, setup: TrainingSetup[SettingsT]) -> Trainer:
        """The trainer of one rank. All ranks enter together."""

    @abstractmethod
    def export(
        self, run: SavedRun, settings: SettingsT, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Write the tables of a trained model; returns the facts that its scorer needs beside them."""

    @abstractmethod
    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """What a model folder of this family predicts."""

    def title(self, settings: SettingsT) -> str:
        """What people call such a model, as "matrix factorization, 64 factors"."""
        return self.name

    def shipped_configuration(self, settings: SettingsT) -> str | None:
        """The name of the configuration that `train` in Python takes for what is left open; None: defaults."""
        return None

    def check(self, setup: TrainingSetup[SettingsT]) -> None:
        """Raise `ConfigError` where this machine cannot train it; all ranks enter, before anything is written."""

    def warm_start(self, checkpoint: Checkpoint, settings: SettingsT) -> WarmStart:
        """The state of a new run that begins with what another has learnt. Raises `ConfigError` without one."""
        raise ConfigError(f"start_from: a model of kind {self.name} cannot begin from another run")

    def out_of_memory_advice(self, settings: SettingsT, memory_limit: int | None) -> str:
        """What to do, for the line that says that memory ran out; `memory_limit` is that of the run."""
        return "a smaller model needs less"

    def reuses_large_buffers(self, settings: SettingsT) -> bool:
        """Whether large pieces of memory come and go in training, so that the process should keep them."""
        return False
