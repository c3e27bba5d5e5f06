"""Rating prediction and recommendation for data that no longer fits one machine.

    import recsys_dist
    model = recsys_dist.load_model("models/ml1m")

Importing the package is cheap: torch is imported with the first use of `load_model`, and its threads are told how
to wait (see process/threads.py).
"""

from __future__ import annotations

from recsys_dist.version import __version__

# A type checker takes it for true. From typing it would cost most of the time that this import takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from recsys_dist.api.model import Model, load_model
    from recsys_dist.families.neural.family import PairFamily
    from recsys_dist.families.neural.settings import PairSettings
    from recsys_dist.protocols.family import ModelFamily, ModelSettings

__all__ = ["Model", "ModelFamily", "ModelSettings", "PairFamily", "PairSettings", "__version__", "load_model"]

WHERE = {
    "Model": "recsys_dist.api.model",
    "ModelFamily": "recsys_dist.protocols.family",
    "ModelSettings": "recsys_dist.protocols.family",
    "PairFamily": "recsys_dist.families.neural.family",
    "PairSettings": "recsys_dist.families.neural.settings",
    "load_model": "recsys_dist.api.model",
}
"""The module of each public name, imported with its first use."""


def __getattr__(name: str) -> Any:
    if name in WHERE:
        from importlib import import_module  # noqa: PLC0415

        from recsys_dist.process.threads import settle_waiting  # noqa: PLC0415

        settle_waiting()
        return getattr(import_module(WHERE[name]), name)
    raise AttributeError(f"module 'recsys_dist' has no attribute {name!r}")
