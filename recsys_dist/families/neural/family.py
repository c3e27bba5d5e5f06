"""A model family from a module with `forward(user_N, item_N) -> rating_N`."""
# ruff: noqa: PLC0415 - heavy modules are imported on demand

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import JsonValue

from recsys_dist.families.neural.settings import PairSettings
from recsys_dist.progress import Progress
from recsys_dist.protocols.family import ModelFamily, TrainingSetup

if TYPE_CHECKING:
    import torch
    from torch import nn

    from recsys_dist.checkpoint.state import SavedRun
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.dataset.manifest import RatingStats
    from recsys_dist.model_folder.folder import ModelFolder
    from recsys_dist.model_folder.writer import ModelWriter
    from recsys_dist.protocols.scorer import Scorer
    from recsys_dist.protocols.trainer import Trainer

PairSettingsT = TypeVar("PairSettingsT", bound=PairSettings)


class PairFamily(ModelFamily[PairSettingsT]):
    """A module that scores pairs, trained by Adam on the squared error of batches of ratings.

    A step computes `forward` on the pairs of its batch; ranks share the batch, and DistributedDataParallel
    averages the gradients. Scoring all items costs one forward pass per pair. Results are bitwise reproducible on
    the same number of ranks; on another number they agree up to rounding, except for dropout.
    """

    user_tables: ClassVar[tuple[str, ...]]
    """Names, as in `named_parameters`, of parameters with one row per user and a last row for unknown users."""
    item_tables: ClassVar[tuple[str, ...]]
    """The same for items."""
    training_only: ClassVar[frozenset[str]] = frozenset(PairSettings.model_fields) - {"kind"}
    rounding_only: ClassVar[frozenset[str]] = frozenset({"parallel"})
    state_beside_model: ClassVar[tuple[str, ...]] = ("optimizer",)
    parity_tolerance: ClassVar[float] = 1e-3

    @abstractmethod
    def build(self, settings: PairSettingsT, num_users: int, num_items: int, rating: RatingStats) -> nn.Module:
        """Build the module: `forward(user_N, item_N)` maps int64 indices to rating_N.

        User tables have `num_users` + 1 rows and item tables `num_items` + 1; the last row is for unknown users or
        items. Also called with other numbers, to draw initial values in parts.
        """

    def trainer(self, setup: TrainingSetup[PairSettingsT]) -> Trainer:
        """The trainer, with Adam."""
        from recsys_dist.families.neural.trainer import PairTrainer

        return PairTrainer(self, setup)

    def export(
        self, run: SavedRun, settings: PairSettingsT, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Write the tables of users and items, each with a last row for unknown ones, and the rest as vectors."""
        from recsys_dist.families.neural.export import write_pair_model

        write_pair_model(run, dataset, out, progress)
        return {"settings": settings.model_dump(mode="json")}

    def tables_of_users(self, folder: ModelFolder) -> frozenset[str]:  # noqa: ARG002
        """The user tables of the module."""
        return frozenset({"users"})

    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """Predictions of the module."""
        from recsys_dist.families.neural.scorer import PairScorer

        return PairScorer(self, folder, device)

    def check(self, setup: TrainingSetup[PairSettingsT]) -> None:
        """Check that the module can be built and has the tables that the family names."""
        from recsys_dist.families.neural.module import check_module

        check_module(
            self, setup.settings, setup.dataset.num_users, setup.dataset.num_items, setup.dataset.manifest.rating
        )
