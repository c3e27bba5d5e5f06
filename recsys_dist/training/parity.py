"""Parity between numbers of ranks: train from scratch on each and compare the final checkpoints.

In: the configuration of a run, and world sizes. Out: one `ParityRun` per world size, compared with the first. Each
run has its own temporary folder and CPU processes: a single rank uses all cores, like `recsys-dist train`; several
ranks use one thread each, like under torchrun.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, Checkpoint, committed_names
from recsys_dist.checkpoint.compare import Difference, content_digests, find_differences, joint_digest
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.local_ranks import RANK, run_local_ranks
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError, TrainingError
from recsys_dist.process.heap import keep_freed_memory
from recsys_dist.process.sigterm import ended_by_sigterm
from recsys_dist.process.spawning import without_main_program
from recsys_dist.progress import Progress, say_nothing
from recsys_dist.protocols.family import ModelFamily
from recsys_dist.protocols.registry import add as add_family_of
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import CheckpointSettings, TrainConfig
from recsys_dist.training.run import run_training

MAX_RANKS = 64


@dataclass(frozen=True)
class ParityRun:
    """One training: wall-clock `seconds` including process start, and a `digest` of all tensors and values.

    `differences` from the first run, in the order of the tensors' names; empty if all bits are equal.
    """

    num_ranks: int
    seconds: float
    digest: str
    differences: tuple[Difference, ...] = ()
    beside_model: tuple[str, ...] = ()
    """See `ModelFamily.state_beside_model`."""

    @property
    def of_model(self) -> list[Difference]:
        """Differences without optimizer state, where rounding is large relative to small gradients."""
        beside = tuple(start for name in self.beside_model for start in (f"{name}_", f"values.{name}"))
        return [one for one in self.differences if not one.name.startswith(beside)]

    def beyond(self, tolerance: float) -> list[Difference]:
        """Differences of the model larger than `tolerance`; with tolerance 0 all differences."""
        if tolerance == 0:
            return list(self.differences)
        return [one for one in self.of_model if not one.relative <= tolerance]


def parse_world_sizes(text: str) -> tuple[int, ...]:
    """Parse a list of numbers of ranks, such as `1,2,4`; repeated numbers run repeatedly. Raises `ConfigError`."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not re.fullmatch(r"[0-9]{1,9}", part) or not 1 <= int(part) <= MAX_RANKS:
            raise ConfigError(
                f"--ranks {text!r}: {part!r} is not a number of ranks from 1 to {MAX_RANKS}; "
                "give a list such as 1,2,4"
            )
    if len(parts) < 2:
        raise ConfigError(f"--ranks {text!r}: give two or more to compare, such as 1,2 or 2,2")
    return tuple(map(int, parts))


def verify_parity(
    config: TrainConfig,
    world_sizes: Sequence[int],
    epochs: int,
    progress: Progress = say_nothing,
) -> list[ParityRun]:
    """Train `epochs` epochs of `config` from scratch on each number of ranks and compare with the first.

    Does not touch `run_dir`. Calls `progress` with (what, runs done, total runs). Raises a one-line
    `RecsysDistError` that names the rank if a run fails. Leaves no process behind, and files only after SIGKILL.
    """
    _require_cpu(config)
    Dataset.open(config.dataset)  # report a wrong name before any process starts
    runs: list[ParityRun] = []
    with ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="recsys_dist-parity-") as folder:
        first: Checkpoint | None = None
        for number, num_ranks in enumerate(world_sizes):
            progress("trainings", number, len(world_sizes))
            run_dir, started = Path(folder) / str(number), time.monotonic()
            checkpoint = _train(_short_run(config, run_dir, epochs), num_ranks)
            seconds = time.monotonic() - started
            runs.append(_compare(first or checkpoint, checkpoint, num_ranks, seconds, config.family))
            first = first or checkpoint
            if number:
                shutil.rmtree(run_dir)
        progress("trainings", len(world_sizes), len(world_sizes))
    return runs


def require_parity(runs: Sequence[ParityRun], tolerance: float, family: ModelFamily[Any]) -> None:
    """Raise `TrainingError` with the first tensor that differs by more than `tolerance`, in the first such run.

    `family` is the family of the model.
    """
    for run in runs:
        beyond = run.beyond(tolerance)
        if beyond:
            others = f", and {len(beyond) - 1} more differ" if beyond[1:] else ""
            hint = ""
            if tolerance < family.parity_tolerance:
                hint = (
                    f"; models of kind {family.name} are equal up to rounding only; use --tolerance "
                    f"{family.parity_tolerance:g}"
                )
            raise TrainingError(
                f"{_ranks(runs[0].num_ranks)} and {_ranks(run.num_ranks)} give different models: "
                f"{beyond[0]}{others}{hint}"
            )


def _require_cpu(config: TrainConfig) -> None:
    world = World.from_environment(config.device)
    if world.size > 1:
        raise ConfigError("verify-parity starts its own ranks; run it without torchrun or srun")
    if world.device.type != "cpu":
        raise ConfigError(
            f"device: {config.device} is a GPU here, but verify-parity runs on the CPU; add device=cpu"
        )


def _short_run(config: TrainConfig, run_dir: Path, epochs: int) -> TrainConfig:
    """The same run from scratch, with `epochs` epochs and without trackers."""
    changes = {
        "run_dir": str(run_dir),
        "device": "cpu",
        "training": config.training.model_copy(update={"epochs": epochs, "trackers": ()}),
        "checkpoint": CheckpointSettings(every=epochs, keep=1),
    }
    return config.model_copy(update=changes)


def _train(config: TrainConfig, num_ranks: int) -> Checkpoint:
    """Train on `num_ranks` ranks; returns the final checkpoint, verified."""
    # One process keeps torch's default, all cores; the number of threads must not change the model either.
    num_threads = None if num_ranks == 1 else 1
    try:
        with without_main_program(RANK):
            train = partial(_train_on_rank, config, config.family)
            run_local_ranks(train, num_ranks, config.training.timeout_s, num_threads)
    except TrainingError as error:
        raise TrainingError(f"training on {_ranks(num_ranks)} failed: {error}") from error
    checkpoints = Folder(config.run_dir).child(CHECKPOINTS)
    return Checkpoint.open(checkpoints.child(str(committed_names(checkpoints)[-1])))


def _train_on_rank(config: TrainConfig, family: ModelFamily[Any], collectives: Collectives) -> None:
    add_family_of(family)
    keep_freed_memory()
    run_training(config, collectives, preempted=lambda: False)


def _compare(
    first: Checkpoint, checkpoint: Checkpoint, num_ranks: int, seconds: float, family: ModelFamily[Any]
) -> ParityRun:
    digests = content_digests(checkpoint)
    differences: list[Difference] = []
    if checkpoint is not first:
        wanted = content_digests(first)
        names = [name for name in dict.fromkeys((*wanted, *digests)) if wanted.get(name) != digests.get(name)]
        differences = find_differences(first, checkpoint, names)
    return ParityRun(num_ranks, seconds, joint_digest(digests), tuple(differences), family.state_beside_model)


def _ranks(number: int) -> str:
    return f"{number} rank" + ("s" if number > 1 else "")
