"""A blend of trained models as a model family."""
# ruff: noqa: PLC0415, ARG002 - heavy modules are imported on demand; a blend has no settings

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import JsonValue

from recsys_dist.errors import ConfigError
from recsys_dist.families.blend.settings import BlendSettings
from recsys_dist.progress import Progress
from recsys_dist.protocols.family import ModelFamily, TrainingSetup

if TYPE_CHECKING:
    import torch

    from recsys_dist.checkpoint.state import SavedRun
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.model_folder.folder import ModelFolder
    from recsys_dist.model_folder.writer import ModelWriter
    from recsys_dist.protocols.scorer import Scorer


class Blend(ModelFamily[BlendSettings]):
    """A weighted sum of trained models (blending/)."""

    name, settings = "blend", BlendSettings
    needs_ratings = False

    def tables_of_users(self, folder: ModelFolder) -> frozenset[str] | None:
        """Those of all parts; None if one part does not know its own."""
        from recsys_dist.families.blend.facts import BlendFacts
        from recsys_dist.model_folder.parts import in_part, open_part
        from recsys_dist.protocols.registry import known_family

        found = set[str]()
        for number, part in enumerate(folder.facts(BlendFacts).parts):
            family = known_family(part.kind, of=folder.folder.url)
            names = family.tables_of_users(open_part(folder, number, part))
            if names is None:
                return None
            found |= {in_part(number, name) for name in names}
        return frozenset(found)

    def scorer(self, folder: ModelFolder, device: torch.device) -> Scorer[Any]:
        """Predictions of all parts, added up."""
        from recsys_dist.families.blend.scorer import BlendScorer

        return BlendScorer(folder, device)

    def check(self, setup: TrainingSetup[BlendSettings]) -> NoReturn:
        """Refuse to train."""
        raise ConfigError(
            "model.kind: a blend is not trained; train its models and make it by "
            "`recsys-dist blend MODEL MODEL --dataset DATASET --output BLEND`"
        )

    def trainer(self, setup: TrainingSetup[BlendSettings]) -> NoReturn:
        """Refuse to train."""
        self.check(setup)

    def export(
        self, run: SavedRun, settings: BlendSettings, dataset: Dataset, out: ModelWriter, progress: Progress
    ) -> Mapping[str, JsonValue]:
        """There is no run of a blend to export."""
        raise ConfigError(f"a run of kind {self.name} cannot be merged; use `recsys-dist blend`")
