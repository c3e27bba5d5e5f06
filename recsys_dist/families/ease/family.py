"""EASE as a model family."""
# ruff: noqa: PLC0415, ARG002 - heavy modules are imported on demand; not every method needs its settings

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ByteSize, JsonValue

from recsys_dist.errors import ConfigError
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.progress import Progress
from recsys_dist.protocols.family import ModelFamily, TrainingSetup

if TYPE_CHECKING:
    import torch

    from recsys_dist.checkpoint.state import SavedRun
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.model_folder.folder import ModelFolder
    from recsys_dist.model_folder.writer import ModelWriter
    from recsys_dist.protocols.plan import ModelPlan, PlanSetup
    from recsys_dist.protocols.scorer import Scorer
    from recsys_dist.protocols.trainer import Trainer


class Ease(ModelFamily[EaseSettings]):
    """X ~ X B with diag(B) = 0: a linear autoencoder of items in closed form (Steck 2019)."""

    name, settings = "ease", EaseSettings
    needs_ratings = False
    parity_tolerance = 1e-5

    def trainer(self, setup: TrainingSetup[EaseSettings]) -> Trainer:
        """The trainer, which has a single epoch."""
        from recsys_dist.families.ease.training.trainer import EaseTrainer

        return EaseTrainer(setup)

    def export(
        self, run: SavedRun, settings: EaseSettings, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Write the weights of each item."""
        from recsys_dist.families.ease.serving.export import write_ease

        return write_ease(run, dataset, out, progress).model_dump(mode="json")

    def tables_of_users(self, folder: ModelFolder) -> frozenset[str]:
        """None: users are their train ratings."""
        return frozenset()

    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """Scores of items from the interactions of a user."""
        from recsys_dist.families.ease.serving.scorer import EaseScorer

        return EaseScorer(folder, device)

    def title(self, settings: EaseSettings) -> str:
        """The name and the target."""
        return "EASE" if settings.target is None else f"EASE, target: {settings.target}"

    def shipped_configuration(self, settings: EaseSettings) -> str:
        """configs/ease.yaml"""
        return "ease"

    def check(self, setup: TrainingSetup[EaseSettings]) -> None:
        """Check that there are items to predict from, and that the exact solution fits the memory."""
        from recsys_dist.families.ease.training.requirements import choose_method

        if setup.dataset.num_items < 2:
            raise ConfigError(
                f"model.kind: ease predicts an item from others, but {setup.dataset.folder.url} has only one item"
            )
        choose_method(setup)

    def plan(self, setup: PlanSetup[EaseSettings]) -> ModelPlan[EaseSettings]:
        """The plan of the search and the solution."""
        from recsys_dist.families.ease.plan import plan_ease

        return plan_ease(setup)

    def out_of_memory_advice(self, settings: EaseSettings, memory_limit: int | None) -> str:
        """Advise the sparse method, or fewer neighbours."""
        limit = (
            ""
            if memory_limit is None
            else f" (training.memory_limit is {ByteSize(memory_limit).human_readable()})"
        )
        if settings.method == "sparse":
            return f"use fewer model.neighbors, or more memory{limit}"
        return f"use more ranks on more machines, or model.method: sparse{limit}"
