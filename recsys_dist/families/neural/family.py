"""A family of models from one module: `forward(user_N, item_N) -> rating_N`."""
# ruff: noqa: PLC0415 - what is heavy is imported where it is needed

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
    averages the gradients. To score all items costs one forward pass a pair. The same number of ranks gives the
    same bits, another one the same up to rounding, dropout apart.
    """

    user_tables: ClassVar[tuple[str, ...]]
    """Names, as of `named_parameters`, of what has one row a user and one more for the unknown."""
    item_tables: ClassVar[tuple[str, ...]]
    """The same of items."""
    training_only: ClassVar[frozenset[str]] = frozenset(PairSettings.model_fields) - {"kind"}
    rounding_only: ClassVar[frozenset[str]] = frozenset({"parallel"})
    state_beside_model: ClassVar[tuple[str, ...]] = ("optimizer",)
    parity_tolerance: ClassVar[float] = 1e-3

    @abstractmethod
    def build(self, settings: PairSettingsT, num_users: int, num_items: int, rating: RatingStats) -> nn.Module:
        """A module whose `forward(user_N, item_N)`, int64 indices, gives rating_N.

        Its tables of users have `num_users` + 1 rows, those of items `num_items` + 1: the last one stands for what
        is not known. It is called with other numbers too, to draw starting values by parts.
        """

    def trainer(self, setup: TrainingSetup[PairSettingsT]) -> Trainer:
        """Steps of Adam over ranks."""
        from recsys_dist.families.neural.trainer import PairTrainer

        return PairTrainer(self, setup)

    def export(
        self, run: SavedRun, settings: PairSettingsT, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Tables of users and items, the mean of the trained rows behind them, and all else as one vector."""
        from recsys_dist.families.neural.export import write_pair_model

        write_pair_model(run, dataset, out, progress)
        return {"settings": settings.model_dump(mode="json")}

    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """The module, with the rows of whatever users are asked for."""
        from recsys_dist.families.neural.scorer import PairScorer

        return PairScorer(self, folder, device)

    def check(self, setup: TrainingSetup[PairSettingsT]) -> None:
        """That the module can be built and has the tables that it names."""
        from recsys_dist.families.neural.module import check_module

        check_module(
            self, setup.settings, setup.dataset.num_users, setup.dataset.num_items, setup.dataset.manifest.rating
        )
