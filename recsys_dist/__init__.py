"""Rating prediction and recommendation for data that no longer fits one machine.

    import recsys_dist
    dataset = recsys_dist.prepare(table, "data/mine", user="member", item="film", rating="stars")
    model = recsys_dist.load_model("models/ml1m")

Importing the package is cheap: each public name is imported on first use. Names that need torch first set how its
threads wait (see process/threads.py).
"""

from __future__ import annotations

from recsys_dist.version import __version__

# Type checkers treat it as true. Importing it from typing would take most of this module's import time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from recsys_dist.api.blending import blend
    from recsys_dist.api.comparison import compare_models
    from recsys_dist.api.model import Model, load_model
    from recsys_dist.api.sweeping import sweep
    from recsys_dist.api.training import train
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.families.autorec.settings import AutorecSettings as AutoRec
    from recsys_dist.families.ease.settings import EaseSettings as EASE  # noqa: N814
    from recsys_dist.families.ials.settings import IalsSettings as IALS  # noqa: N814
    from recsys_dist.families.mf.settings import MfSettings as MF  # noqa: N814
    from recsys_dist.families.neural.family import PairFamily
    from recsys_dist.families.neural.settings import PairSettings
    from recsys_dist.from_python.prepare import prepare
    from recsys_dist.merging import merge
    from recsys_dist.protocols.family import ModelFamily, ModelSettings

__all__ = [
    "EASE",
    "IALS",
    "MF",
    "AutoRec",
    "Dataset",
    "Model",
    "ModelFamily",
    "ModelSettings",
    "PairFamily",
    "PairSettings",
    "__version__",
    "blend",
    "compare_models",
    "load_model",
    "merge",
    "prepare",
    "sweep",
    "train",
]

WHERE = {
    "IALS": ("families.ials.settings", "IalsSettings"),
    "EASE": ("families.ease.settings", "EaseSettings"),
    "MF": ("families.mf.settings", "MfSettings"),
    "AutoRec": ("families.autorec.settings", "AutorecSettings"),
    "Dataset": ("dataset.dataset", "Dataset"),
    "Model": ("api.model", "Model"),
    "ModelFamily": ("protocols.family", "ModelFamily"),
    "ModelSettings": ("protocols.family", "ModelSettings"),
    "PairFamily": ("families.neural.family", "PairFamily"),
    "PairSettings": ("families.neural.settings", "PairSettings"),
    "blend": ("api.blending", "blend"),
    "compare_models": ("api.comparison", "compare_models"),
    "load_model": ("api.model", "load_model"),
    "merge": ("merging", "merge"),
    "prepare": ("from_python.prepare", "prepare"),
    "sweep": ("api.sweeping", "sweep"),
    "train": ("api.training", "train"),
}
"""Public name -> module, imported on first use, and the name in that module."""
WITHOUT_TORCH = {"Dataset", "prepare"}


def __getattr__(name: str) -> Any:
    if name in WHERE:
        from importlib import import_module  # noqa: PLC0415

        from recsys_dist.process.threads import settle_waiting  # noqa: PLC0415

        if name not in WITHOUT_TORCH:
            settle_waiting()
        module, inner = WHERE[name]
        return getattr(import_module(f"recsys_dist.{module}"), inner)
    raise AttributeError(f"module 'recsys_dist' has no attribute {name!r}")
