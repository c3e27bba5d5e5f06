"""Trackers by name: those of this package, or MODULE:CLASS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from recsys_dist.errors import ConfigError
from recsys_dist.extras import how_to_install
from recsys_dist.protocols.registry import load_module
from recsys_dist.storage.folder import Folder
from recsys_dist.suggestions import did_you_mean
from recsys_dist.training.trackers.background import InBackground
from recsys_dist.training.trackers.group import Trackers
from recsys_dist.training.trackers.protocol import ExperimentTracker

OWN = {"tensorboard": "TensorBoard", "mlflow": "Mlflow", "wandb": "Wandb"}
"""Name of a tracker, of its module here and of its extra -> its class."""


def as_names(value: Any) -> Any:
    """A name alone as a list of one, and no name twice. Raises `ValueError` for an unknown name."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a list of {', '.join(OWN)} or MODULE:CLASS, not {value!r}")
    for name in names:
        if name not in OWN and ":" not in name:
            hint = did_you_mean(name, OWN) or "; a class of your own is MODULE:CLASS"
            raise ValueError(f"{name!r} is not one of {', '.join(OWN)}{hint}")
    return tuple(dict.fromkeys(names))


def new_trackers(names: Sequence[str], folder: Folder, parameters: Mapping[str, Any]) -> Trackers:
    """The trackers of the run in `folder` with the configuration `parameters`, not yet open.

    Raises `ConfigError` if one is not installed or cannot be used.
    """
    return Trackers([_new(name, folder) for name in names], parameters)


def _new(name: str, folder: Folder) -> ExperimentTracker:
    tracker = _own(name, folder) if name in OWN else _of_user(name, folder)
    return InBackground(tracker, name) if tracker.is_remote else tracker


def _own(name: str, folder: Folder) -> ExperimentTracker:
    module = import_module(f"recsys_dist.training.trackers.{name}")
    try:
        tracker: ExperimentTracker = getattr(module, OWN[name])(folder)
    except ImportError as error:
        raise ConfigError(
            f"training.trackers: {name}: {error}; {how_to_install(name)}, or leave {name} out"
        ) from error
    return tracker


def _of_user(spec: str, folder: Folder) -> ExperimentTracker:
    module_name, _, class_name = spec.partition(":")
    found = getattr(load_module(module_name, f"training.trackers: {spec}"), class_name, None)
    if not isinstance(found, type) or not issubclass(found, ExperimentTracker):
        raise ConfigError(
            f"training.trackers: {spec}: {class_name} is not a subclass of "
            "recsys_dist.training.trackers.protocol.ExperimentTracker"
        )
    if missing := sorted(found.__abstractmethods__):
        raise ConfigError(f"training.trackers: {spec}: does not implement {', '.join(missing)}")
    return found(folder)
