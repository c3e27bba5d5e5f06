"""The interface of an experiment tracker. The first rank alone has trackers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from recsys_dist.storage.folder import Folder


class ExperimentTracker(ABC):
    """Shows one run outside of its folder. A run that is resumed has a new tracker, which continues where it was.

    The constructor raises `ConfigError` if the tracker cannot be used, before anything is written; it must not
    write itself. `folder` is the run folder.
    """

    is_remote: ClassVar[bool] = True
    """Whether a method may wait for a server, so that another thread calls it. If it fails there, training goes
    on, and the same call is repeated with the next epoch."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @abstractmethod
    def open(self, parameters: Mapping[str, Any], epochs_done: int) -> None:
        """Begin or continue the run, after `epochs_done` epochs. `parameters` is the configuration, nested."""

    @abstractmethod
    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Show the figures of an epoch, counted from 1.

        After a resume, a remote tracker is told of all earlier epochs again, since its server may lack some, and
        epochs may be trained again that were shown before: each must stand there once.
        """

    @abstractmethod
    def close(self, outcome: str, figures: Mapping[str, float]) -> None:
        """End the run: finished, converged, early_stopped, preempted or failed, with its final figures."""
