"""All trackers of a run, called together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recsys_dist.training.trackers.protocol import ExperimentTracker


class Trackers:
    """The trackers of a run with the configuration `parameters`; each call goes to all of them."""

    def __init__(
        self, trackers: Sequence[ExperimentTracker] = (), parameters: Mapping[str, Any] | None = None
    ) -> None:
        self._trackers, self._parameters = trackers, parameters or {}
        self._is_open = False

    def open(self, epochs_done: int, earlier: Mapping[int, Mapping[str, float]] | None = None) -> None:
        """Begin or continue the run. `earlier`: figures of epochs that are done, for servers that lack them."""
        self._is_open = True
        for tracker in self._trackers:
            tracker.open(self._parameters, epochs_done)
            for epoch, figures in (earlier or {}).items() if tracker.is_remote else ():
                tracker.log(epoch, figures)

    def log(self, epoch: int, figures: Mapping[str, float | None]) -> None:
        """Show the figures of one epoch, except those that are None."""
        known = {name: figure for name, figure in figures.items() if figure is not None}
        for tracker in self._trackers:
            tracker.log(epoch, known)

    def close(self, outcome: str, figures: Mapping[str, float]) -> None:
        """End the run, if it was opened."""
        if self._is_open:
            self._is_open = False
            for tracker in self._trackers:
                tracker.close(outcome, figures)
