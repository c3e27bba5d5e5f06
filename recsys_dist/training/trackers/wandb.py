"""A run in Weights & Biases: the configuration, the figures of each epoch with the epoch as step, final figures.

Needs the extra `wandb`. WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, WANDB_DIR and other variables of
wandb are read from the environment. With WANDB_MODE=offline the run is kept on the disk, for `wandb sync`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from recsys_dist.errors import ConfigError
from recsys_dist.storage.folder import Folder
from recsys_dist.training.trackers import remembered
from recsys_dist.training.trackers.protocol import ExperimentTracker

if TYPE_CHECKING:
    from wandb import Run

NAME = "wandb"
PROJECT = "recsys_dist"
"""The project, unless the environment names one."""
WAIT_S = 10.0
"""How long wandb waits for its server, at the start of a run and at its end."""
EXIT_CODE = {"failed": 1}


class Wandb(ExperimentTracker):
    """Keeps the id of its run, and the last epoch that was sent, in RUN_DIR/wandb.json."""

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        import wandb  # noqa: PLC0415 - an extra, and slow to import

        self._wandb = wandb
        if not _is_offline() and not _has_key(wandb):
            raise ConfigError(
                "training.trackers: wandb has no key of yours; run `wandb login`, set WANDB_API_KEY, or set "
                "WANDB_MODE=offline"
            )
        self._run: Run | None = None
        self._last_epoch = 0

    def open(self, parameters: Mapping[str, Any], epochs_done: int) -> None:  # noqa: ARG002 - wandb.json knows
        """Create the run, or continue it under its id."""
        kept = remembered.read(self.folder, NAME)
        run_id, self._last_epoch = str(kept.get("id") or uuid4().hex[:8]), int(kept.get("epoch", 0))
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id,
            name=os.environ.get("WANDB_NAME", posixpath.basename(self.folder.url)),
            config=dict(parameters),
            dir=os.environ.get("WANDB_DIR") or (str(self.folder.local_path("")) if self.folder.is_local else None),
            resume=None if _is_offline() else "allow",
            reinit="create_new",  # a run of the program that calls this one stays open
            # Without `console` wandb replaces stdout.
            settings=self._wandb.Settings(
                console="off", silent=True, init_timeout=WAIT_S, finish_timeout=WAIT_S, finish_timeout_raises=True
            ),
        )
        self._keep()

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Hand an epoch that was not sent before to wandb, which sends it."""
        if epoch > self._last_epoch:
            self._opened().log(dict(figures), step=epoch, commit=True)
            self._last_epoch = epoch
            self._keep()

    def close(self, outcome: str, figures: Mapping[str, float]) -> None:
        """Set the final figures, and wait for what is not sent."""
        run = self._opened()
        run.summary.update({**figures, "outcome": outcome})
        if outcome == "preempted":
            run.mark_preempting()
        run.finish(EXIT_CODE.get(outcome, 0))

    def _opened(self) -> Run:
        assert self._run is not None, "open comes first"
        return self._run

    def _keep(self) -> None:
        remembered.keep(self.folder, NAME, {"id": self._opened().id, "epoch": self._last_epoch})


def _has_key(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except Exception:
        # There is a key, and the server refuses it or is away: `open` will tell.
        return True


def _is_offline() -> bool:
    return os.environ.get("WANDB_MODE", "online") not in {"online", "run", "shared"}
