"""Interactions by alternating least squares as a model family."""
# ruff: noqa: PLC0415, ARG002 - heavy modules are imported on demand; not every family needs its settings

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ByteSize, JsonValue

from recsys_dist.errors import ConfigError
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.progress import Progress
from recsys_dist.protocols.family import ModelFamily, TrainingSetup

if TYPE_CHECKING:
    import torch

    from recsys_dist.checkpoint.checkpoint import Checkpoint
    from recsys_dist.checkpoint.state import SavedRun
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.model_folder.folder import ModelFolder
    from recsys_dist.model_folder.writer import ModelWriter
    from recsys_dist.protocols.plan import ModelPlan, PlanSetup
    from recsys_dist.protocols.scorer import Scorer
    from recsys_dist.protocols.trainer import Trainer
    from recsys_dist.protocols.warm_start import WarmStart


class Ials(ModelFamily[IalsSettings]):
    """Weighted least squares on interactions, with all other pairs as weak evidence of no interest."""

    name, settings = "ials", IalsSettings
    training_only = frozenset({"tolerance"})
    needs_ratings = False
    has_same_bits_on_any_threads = True

    def trainer(self, setup: TrainingSetup[IalsSettings]) -> Trainer:
        """The trainer of alternating least squares."""
        from recsys_dist.families.ials.training.trainer import IalsTrainer

        return IalsTrainer(setup)

    def export(
        self, run: SavedRun, settings: IalsSettings, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Write the vectors of users and items."""
        from recsys_dist.families.ials.serving.export import write_ials

        return write_ials(run, settings, dataset, out, progress).model_dump(mode="json")

    def tables_of_users(self, folder: ModelFolder) -> frozenset[str]:
        """Their vectors."""
        return frozenset({"users"})

    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """Scores by inner products."""
        from recsys_dist.families.ials.serving.scorer import IalsScorer

        return IalsScorer(folder, device)

    def title(self, settings: IalsSettings) -> str:
        """The name and the number of factors."""
        return f"Matrix factorization of interactions (iALS), {settings.factors} factors"

    def shipped_configuration(self, settings: IalsSettings) -> str:
        """configs/ials.yaml"""
        return "ials"

    def check(self, setup: TrainingSetup[IalsSettings]) -> None:
        """Refuse a dataset with a single item, which leaves nothing to rank."""
        if setup.dataset.num_items == 1:
            raise ConfigError(f"dataset: {setup.dataset.folder.url} has one item, so there is nothing to rank")

    def plan(self, setup: PlanSetup[IalsSettings]) -> ModelPlan[IalsSettings]:
        """The plan with a penalty that is given."""
        from recsys_dist.families.ials.plan import plan_ials

        return plan_ials(setup)

    def warm_start(self, checkpoint: Checkpoint, settings: IalsSettings) -> WarmStart:
        """Start from the vectors and the penalty of another run."""
        from recsys_dist.families.ials.training.warm_start import IalsStart

        return IalsStart(checkpoint)

    def out_of_memory_advice(self, settings: IalsSettings, memory_limit: int | None) -> str:
        """Advise a memory limit first: within it, ratings are re-read on every pass."""
        limit = "" if memory_limit is None else f" (now {ByteSize(memory_limit).human_readable()})"
        first = f"{'set' if memory_limit is None else 'lower'} training.memory_limit{limit}"
        return f"{first}, use more ranks on more machines, or a smaller model.factors"

    def reuses_large_buffers(self, settings: IalsSettings) -> bool:
        """True: every batch of rows gathers vectors of the other side."""
        return True
