"""Rating prediction and recommendation for data that no longer fits one machine.

    import recsys_dist
    dataset = recsys_dist.prepare(table, "data/mine", user="member", item="film", rating="stars")
    model = recsys_dist.load_model("models/ml1m")

Importing the package is cheap: what has a name here is imported with its first use. With `load_model` comes torch,
whose threads are told how to wait (see process/threads.py).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsys_dist.process.threads import settle_waiting
from recsys_dist.version import __version__

if TYPE_CHECKING:
    from recsys_dist.dataset.dataset import Dataset
    from recsys_dist.from_python.prepare import prepare
    from recsys_dist.inference.model import Model, load_model

__all__ = ["Dataset", "Model", "__version__", "load_model", "prepare"]
WITHOUT_TORCH = {"Dataset": "recsys_dist.dataset.dataset", "prepare": "recsys_dist.from_python.prepare"}
WITH_TORCH = {"Model": "recsys_dist.inference.model", "load_model": "recsys_dist.inference.model"}


def __getattr__(name: str) -> Any:
    if name in WITH_TORCH:
        settle_waiting()
    elif name not in WITHOUT_TORCH:
        raise AttributeError(f"module 'recsys_dist' has no attribute {name!r}")
    return getattr(import_module({**WITHOUT_TORCH, **WITH_TORCH}[name]), name)
