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

    from recsys_dist.inference.model import Model, load_model

__all__ = ["Model", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name in {"Model", "load_model"}:
        from importlib import import_module  # noqa: PLC0415

        from recsys_dist.process.threads import settle_waiting  # noqa: PLC0415

        settle_waiting()
        return getattr(import_module("recsys_dist.inference.model"), name)
    raise AttributeError(f"module 'recsys_dist' has no attribute {name!r}")
