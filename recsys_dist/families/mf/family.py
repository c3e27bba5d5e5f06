"""Matrix factorization by EM as a model family."""
# ruff: noqa: PLC0415, ARG002 - heavy modules are imported on demand; not every family needs its settings

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ByteSize, JsonValue

from recsys_dist.families.mf.settings import MfSettings
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


class MatrixFactorization(ModelFamily[MfSettings]):
    """r_ui ~ Normal(mu + b_u + c_i + p_u . q_i, sigma^2), with posteriors for users and items."""

    name, settings = "mf", MfSettings
    training_only = frozenset({"tolerance"})
    has_same_bits_on_any_threads = True

    def trainer(self, setup: TrainingSetup[MfSettings]) -> Trainer:
        """The EM trainer."""
        from recsys_dist.families.mf.training.trainer import EmTrainer

        return EmTrainer(
            setup.dataset,
            setup.settings,
            epochs=setup.epochs,
            seed=setup.seed,
            collectives=setup.collectives,
            memory_limit=setup.memory_limit,
        )

    def export(
        self, run: SavedRun, settings: MfSettings, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Write users and items: means, and covariances, precisions and constraints if the model has them."""
        from recsys_dist.families.mf.serving.export import write_mf

        return write_mf(run, settings, dataset, out, progress).model_dump(mode="json")

    def tables_of_users(self, folder: ModelFolder) -> frozenset[str]:
        """Means, covariances, precisions and constraints."""
        return frozenset({"users", "user_covariances", "user_precisions", "user_constraints"})

    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """Predictions, with uncertainty if the model keeps covariances."""
        from recsys_dist.families.mf.serving.scorer import MfScorer

        return MfScorer(folder, device)

    def title(self, settings: MfSettings) -> str:
        """The name and the number of factors."""
        number = "" if settings.factors == "auto" else f", {settings.factors} factors"
        return f"Matrix factorization by EM{number}"

    def shipped_configuration(self, settings: MfSettings) -> str:
        """configs/mf.yaml"""
        return "mf"

    def check(self, setup: TrainingSetup[MfSettings]) -> None:
        """Refuse a memory limit below one block of items."""
        from recsys_dist.families.mf.training.requirements import require_block
        from recsys_dist.families.mf.training.trainer import kind_of

        require_block(setup, kind_of(setup.settings))

    def plan(self, setup: PlanSetup[MfSettings]) -> ModelPlan[MfSettings]:
        """The plan with the widest form that the settings leave open."""
        from recsys_dist.families.mf.plan import plan_mf

        return plan_mf(setup)

    def as_trained(self, settings: MfSettings, checkpoint: Checkpoint) -> MfSettings:
        """With the number of factors."""
        from recsys_dist.families.mf.training.state import MfState

        return settings.model_copy(update={"factors": MfState.of(checkpoint.values).num_factors})

    def warm_start(self, checkpoint: Checkpoint, settings: MfSettings) -> WarmStart:
        """Start from the posteriors and learnt priors of another run."""
        from recsys_dist.families.mf.training.warm_start import FactorStart

        return FactorStart(checkpoint, settings.posterior == "point")

    def out_of_memory_advice(self, settings: MfSettings, memory_limit: int | None) -> str:
        """Advise a memory limit first: within it, ratings are re-read and tables are sent in blocks."""
        limit = "" if memory_limit is None else f" (now {ByteSize(memory_limit).human_readable()})"
        first = f"{'set' if memory_limit is None else 'lower'} training.memory_limit{limit}"
        return f"{first}, use more ranks on more machines, or a smaller model.factors"

    def reuses_large_buffers(self, settings: MfSettings) -> bool:
        """True: every step allocates and frees tables."""
        return True
