"""AutoRec as a model family."""
# ruff: noqa: PLC0415, ARG002 - heavy modules are imported on demand; not every family needs its settings

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from recsys_dist.families.autorec.settings import AutorecSettings
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


class AutoRec(ModelFamily[AutorecSettings]):
    """An autoencoder over the ratings of items, or of users (Sedhain et al. 2015)."""

    name, settings = "autorec", AutorecSettings
    training_only = frozenset(
        {"optimizer", "learning_rate", "accumulation", "parallel", "compute", "gradient_clip", "batch_ratings"}
    )
    rounding_only = frozenset({"parallel"})
    state_beside_model = ("optimizer",)
    # For parameters: the summation order of gradients depends on the number of ranks. Errors agree to 1e-5.
    parity_tolerance = 1e-3

    def trainer(self, setup: TrainingSetup[AutorecSettings]) -> Trainer:
        """The gradient descent trainer."""
        from recsys_dist.families.autorec.training.trainer import AutorecTrainer

        return AutorecTrainer(
            setup.dataset,
            setup.settings,
            epochs=setup.epochs,
            seed=setup.seed,
            collectives=setup.collectives,
        )

    def export(
        self, run: SavedRun, settings: AutorecSettings, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """Write the hidden states of the rows, the decoder, and what fold-in needs."""
        from recsys_dist.families.autorec.serving.export import write_autorec

        return write_autorec(run, settings, dataset, out, progress).model_dump(mode="json")

    def tables_of_users(self, folder: ModelFolder) -> frozenset[str]:
        """Their vectors and biases; encoder and layers know items alone."""
        return frozenset({"users"})

    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """Predictions, as a bilinear form."""
        from recsys_dist.families.autorec.serving.scorer import AutorecScorer

        return AutorecScorer(folder, device)

    def title(self, settings: AutorecSettings) -> str:
        """The name with orientation and hidden units."""
        units = "-".join(map(str, settings.hidden))
        return f"{'Item' if settings.orientation == 'items' else 'User'}-AutoRec, {units} hidden units"

    def shipped_configuration(self, settings: AutorecSettings) -> str:
        """The configuration for the orientation."""
        return "autorec_item" if settings.orientation == "items" else "autorec_user"

    def check(self, setup: TrainingSetup[AutorecSettings]) -> None:
        """Check memory for parameters, gradients and optimizer, and hardware support for bfloat16 if requested."""
        from recsys_dist.families.autorec.training.requirements import require_bfloat16, require_room

        if setup.settings.compute == "bfloat16":
            require_bfloat16(setup.collectives)
        require_room(setup)

    def plan(self, setup: PlanSetup[AutorecSettings]) -> ModelPlan[AutorecSettings]:
        """The plan without tuning."""
        from recsys_dist.families.autorec.plan import plan_autorec

        return plan_autorec(setup)

    def warm_start(self, checkpoint: Checkpoint, settings: AutorecSettings) -> WarmStart:
        """Start from the parameters and tuned settings of another run, with a fresh optimizer."""
        from recsys_dist.families.autorec.training.warm_start import AutorecStart

        return AutorecStart(checkpoint)

    def out_of_memory_advice(self, settings: AutorecSettings, memory_limit: int | None) -> str:
        """Advise smaller settings of what takes the most memory."""
        return "a smaller model.hidden or model.batch_ratings needs less"

    def reuses_large_buffers(self, settings: AutorecSettings) -> bool:
        """Whether L-BFGS allocates and frees its history."""
        return settings.optimizer == "lbfgs"
