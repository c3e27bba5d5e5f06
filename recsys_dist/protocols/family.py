"""The interface of a model family, from settings to predictions.

Imports no torch, so that commands that only read settings start fast. A family imports heavy modules in its
methods.
"""
# ruff: noqa: ARG002 - defaults ignore their arguments

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
    from recsys_dist.checkpoint.state import SavedRun, StateReader
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.distributed.collectives import Collectives
    from recsys_dist.model_folder.folder import ModelFolder
    from recsys_dist.model_folder.writer import ModelWriter
    from recsys_dist.protocols.plan import ModelPlan, PlanSetup
    from recsys_dist.protocols.scorer import Scorer
    from recsys_dist.protocols.trainer import Trainer
    from recsys_dist.protocols.warm_start import WarmStart


class ModelSettings(Settings):
    """The keys below `model:`; `kind` is the name of the family."""

    kind: str


SettingsT = TypeVar("SettingsT", bound=ModelSettings)


@dataclass(frozen=True)
class TrainingSetup(Generic[SettingsT]):
    """The inputs of a trainer."""

    dataset: Dataset
    settings: SettingsT
    epochs: int
    seed: int
    memory_limit: int | None
    """Memory limit of one rank in bytes, see `training.memory_limit`; None: no limit."""
    collectives: Collectives
    start: StateReader | None = None
    """The state that training continues from or begins with; None: from scratch."""

    def planned(self) -> PlanSetup[SettingsT]:
        """The same training as a plan takes it, with the free memory of every rank. Collective."""
        import torch  # noqa: PLC0415

        from recsys_dist.process.free_memory import free_bytes  # noqa: PLC0415
        from recsys_dist.protocols.plan import PlanSetup  # noqa: PLC0415

        device = self.collectives.world.device
        free = self.collectives.gather_json(free_bytes(device, self.memory_limit))
        return PlanSetup(
            self.dataset,
            self.settings,
            self.epochs,
            self.memory_limit,
            tuple(free),
            device,
            torch.get_num_threads(),
        )


class ModelFamily(ABC, Generic[SettingsT]):
    """One kind of model. Methods that are not abstract have defaults that suit a plain model."""

    name: ClassVar[str]
    """Its name in settings, checkpoints and model folders."""
    settings: ClassVar[type[ModelSettings]]
    """The keys below `model:`."""
    training_only: ClassVar[frozenset[str]] = frozenset()
    """Settings that affect training, not the model itself; they may differ from those of `start_from`."""
    rounding_only: ClassVar[frozenset[str]] = frozenset()
    """Settings that change only rounding, like the number of ranks; they may change when a run is resumed."""
    state_beside_model: ClassVar[tuple[str, ...]] = ()
    """Names of non-model state, such as `optimizer`. Comparisons within a tolerance ignore values of that name and
    tables whose names start with it and an underscore."""
    parity_tolerance: ClassVar[float] = 0.0
    """Relative tolerance between models trained on different numbers of ranks; 0: bitwise equal."""
    needs_ratings: ClassVar[bool] = True
    """Whether the model learns from ratings, so that a dataset of interactions without ratings is refused."""
    has_same_bits_on_any_threads: ClassVar[bool] = False
    """Whether results do not depend on the number of threads, so that training may leave busy cores alone."""

    @abstractmethod
    def trainer(self, setup: TrainingSetup[SettingsT]) -> Trainer:
        """The trainer of one rank. Collective: all ranks must call it."""

    @abstractmethod
    def export(
        self, run: SavedRun, settings: SettingsT, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Write the tables of a trained model; returns the facts that its scorer needs besides the tables."""

    @abstractmethod
    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """The scorer of a model folder of this family."""

    def tables_of_users(self, folder: ModelFolder) -> frozenset[str] | None:
        """Tables of a model folder that know users: a row each, and perhaps a last one for unknown users.

        None: it is not known, and no copy without users can be made.
        """
        return None

    def title(self, settings: SettingsT) -> str:
        """A title for people, such as "matrix factorization, 64 factors"."""
        return self.name

    def shipped_configuration(self, settings: SettingsT) -> str | None:
        """Name of the shipped configuration with the defaults of `train` in Python; None: defaults of settings."""
        return None

    def check(self, setup: TrainingSetup[SettingsT]) -> None:
        """Raise `ConfigError` if this machine cannot train the model. Collective, before anything is written."""

    def plan(self, setup: PlanSetup[SettingsT]) -> ModelPlan[SettingsT] | None:
        """Memory, traffic, checkpoint and work of a training, from the manifest alone; None: there is no plan.

        Its refusal is the one of `check`.
        """
        return None

    def as_trained(self, settings: SettingsT, checkpoint: Checkpoint) -> SettingsT:
        """The settings of a run with the size that its training has chosen, if they left it open."""
        return settings

    def warm_start(self, checkpoint: Checkpoint, settings: SettingsT) -> WarmStart:
        """The initial state of a new run, taken from another run. Raises `ConfigError` if not supported."""
        raise ConfigError(f"start_from: a model of kind {self.name} cannot start from another run; set it to null")

    def out_of_memory_advice(self, settings: SettingsT, memory_limit: int | None) -> str:
        """Advice for the out-of-memory error; `memory_limit` is the limit of the run."""
        return "a smaller model needs less"

    def reuses_large_buffers(self, settings: SettingsT) -> bool:
        """Whether training allocates and frees large buffers repeatedly, so that the process should keep them."""
        return False
