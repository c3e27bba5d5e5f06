"""Room for the checkpoints of a run, asked for before its first epoch instead of missed in a later one."""

from __future__ import annotations

import math
import shutil

from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, Checkpoint
from recsys_dist.checkpoint.snapshot import num_bytes as state_bytes
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import ConfigError
from recsys_dist.protocols.trainer import Trainer
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.plan import Plan


def require_space(
    run_dir: Folder,
    trainer: Trainer,
    plan: Plan | None,
    config: TrainConfig,
    start: Checkpoint | None,
    collectives: Collectives,
) -> None:
    """Raise on every rank if the disk of a local run folder is too small for the checkpoints to come.

    A checkpoint has the size of `start`, or the planned one, or that of the state before the first epoch. Those of
    this run count as room, since new ones replace them. The best one is left out of account, as it may be among
    the newest. Collective.
    """
    if not run_dir.is_local or (start is not None and start.step >= config.training.epochs):
        return
    if start is not None:
        num_bytes = sum(file.bytes for file in start.manifest.files)
    elif plan is not None:
        # Not the state itself: for some families it is the result of a first pass over the ratings.
        num_bytes = plan.checkpoint_bytes
    else:
        num_bytes = state_bytes(trainer.state())
    collectives.together("checking the disk", lambda: _require(run_dir, num_bytes, config))


def _require(run_dir: Folder, num_bytes: int, config: TrainConfig) -> None:
    count = _most_at_a_time(config)
    path = run_dir.local_path("")
    own = sum(file.stat().st_size for file in (path / CHECKPOINTS).rglob("*") if file.is_file())
    needed, free = count * num_bytes - own, shutil.disk_usage(path).free
    if needed > free:
        raise ConfigError(
            f"run_dir: the disk of {run_dir.url} has {free / 1e6:,.0f} MB free, but checkpoints need "
            f"{needed / 1e6:,.0f} MB more: up to {count} at a time, of {num_bytes / 1e6:,.0f} MB each; free the "
            f"space, use a larger disk, or lower checkpoint.keep (now {config.checkpoint.keep})"
        )


def _most_at_a_time(config: TrainConfig) -> int:
    """Checkpoints that are kept, and one more: the old one goes when the new one is complete."""
    every = config.checkpoint.every
    num_saves = config.training.epochs if every == "auto" else math.ceil(config.training.epochs / every)
    return min(config.checkpoint.keep + 1, num_saves)
