"""One training run: configuration in, run folder out (run_folder.py); a later call resumes it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
import yaml
from pydantic import JsonValue

from recsys_dist.checkpoint.checkpoint import Checkpoint
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST, Manifest
from recsys_dist.distributed.collectives import Collectives, open_collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError
from recsys_dist.model_folder.manifest import MODEL_FILE
from recsys_dist.process.free_memory import free_bytes
from recsys_dist.process.heap import keep_freed_memory
from recsys_dist.process.peak_memory import resident_bytes
from recsys_dist.process.preemption import watch_for_preemption
from recsys_dist.process.threads import NUM_THREADS, free_cores
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.disk_space import require_space
from recsys_dist.training.early_stopping import EarlyStopping
from recsys_dist.training.loop import Outcome, fit
from recsys_dist.training.memory import explained_lack_of_memory, warn_of_lack
from recsys_dist.training.plan import Plan, to_record
from recsys_dist.training.run_folder import CONFIG, PLAN, RunLock
from recsys_dist.training.run_status import RunStatus
from recsys_dist.training.trackers.choice import new_trackers
from recsys_dist.training.trackers.group import Trackers
from recsys_dist.training.tracking import Tracker
from recsys_dist.training.warm_start import warm_start
from recsys_dist.version import __version__

logger = logging.getLogger(__name__)

FILES_READ = ("blocks/", "ratings/valid/", "users.parquet", "items.parquet")


Finish = Callable[[Outcome, Collectives], None]
"""Called by all ranks together after training."""


def train(
    config: TrainConfig,
    world: World | None = None,
    finish: Finish = lambda _outcome, _collectives: None,
) -> Outcome:
    """Train by `config`, as one of the ranks that the environment describes, or as `world`.

    Resumes from the latest checkpoint of RUN_DIR. On SIGTERM, SIGUSR1 and a first Ctrl-C it saves and returns; a
    second Ctrl-C raises `KeyboardInterrupt`. Raises a `RecsysDistError` with a one-line message.
    """
    if keeps_freed_memory(config):
        keep_freed_memory()
    world = world or World.from_environment(config.device)
    share_cores(world, config)
    with (
        watch_for_preemption() as preempted,
        open_collectives(world, timeout_s=config.training.timeout_s) as collectives,
    ):
        outcome = run_training(config, collectives, preempted)
        finish(outcome, collectives)
        return outcome


def keeps_freed_memory(config: TrainConfig) -> bool:
    """Whether the process keeps large buffers that it frees, for reuse."""
    # Otherwise freed memory is returned at once, since fragmentation would exceed the limit.
    return config.training.memory_limit is None or not config.family.reuses_large_buffers(config.model)


def run_training(config: TrainConfig, collectives: Collectives, preempted: Callable[[], bool]) -> Outcome:
    """`train` on ranks that have already joined a process group."""
    folder = Folder(config.run_dir)
    with RunLock(folder) as lock:
        status = RunStatus(folder, lock, collectives.world.is_first)
        with status.telling_failure(), explained_lack_of_memory(collectives.world, config):
            return _run_in(folder, lock, status, config, collectives, preempted)


def _run_in(
    folder: Folder,
    lock: RunLock,
    status: RunStatus,
    config: TrainConfig,
    collectives: Collectives,
    preempted: Callable[[], bool],
) -> Outcome:
    collectives.together("opening the run folder", lambda: _open(folder, lock, collectives.world))
    trackers = collectives.together("opening the trackers", lambda: _trackers(folder, config, collectives.world))
    dataset = collectives.together("opening the dataset", lambda: Dataset.open(config.dataset))
    facts = _facts(dataset)
    collectives.require_same({"the configuration": _digest(config), **{k: str(v) for k, v in facts.items()}})
    collectives.together("checking the dataset", lambda: _verify_share(dataset, collectives.world))
    store = CheckpointStore(folder, collectives, config.checkpoint.keep)
    start = store.latest()
    if start is not None:
        require_same_run(start, config, facts)
    learnt = None
    if start is None:
        learnt = collectives.together("reading start_from", lambda: warm_start(config, dataset))
    setup = TrainingSetup(
        dataset,
        config.model,
        config.training.epochs,
        config.seed,
        config.training.memory_limit,
        collectives,
        start or learnt,
    )
    require_feedback(config, dataset)
    config.family.check(setup)
    plan = _plan(config, setup)
    tracker = Tracker(
        folder, config.training.epochs, collectives.world.is_first, trackers=trackers, check=lock.require_in_place
    )
    announce = partial(_announce, folder, lock, status, config, start, plan, collectives.world)
    collectives.together("preparing the run folder", announce)
    trainer = config.family.trainer(setup)
    with tracker:
        tracker.say(_opening(folder, start, config, dataset))
        # Users that are held out whole are cold, so their error says little about a model of the others.
        stops_early = not dataset.manifest.holds_out_users
        require_space(folder, trainer, plan, config, start, collectives)
        outcome = fit(trainer, store, tracker, config, collectives, preempted, start or learnt, facts, stops_early)
        collectives.together("writing the status", lambda: status.end(outcome.value, trainer.epochs_done))
        best = store.best()
        tracker.end(outcome.value, best)
        if outcome is not Outcome.PREEMPTED and best is not None:
            tracker.say(f"best: epoch {best[0]}, valid RMSE {best[1]:.4f}, which merge takes")
    return outcome


def require_feedback(config: TrainConfig, dataset: Dataset) -> None:
    """Raise `ConfigError` if the family needs ratings and the dataset has none."""
    if config.family.needs_ratings and not dataset.manifest.has_ratings:
        raise ConfigError(
            f"model.kind: {config.model.kind} needs ratings, but {config.dataset} has only interactions; use "
            "kind: ials or kind: ease"
        )


def require_same_run(start: Checkpoint, config: TrainConfig, facts: Mapping[str, JsonValue]) -> None:
    """Raise `ConfigError` if `config` differs from that of the checkpoint in a setting that affects the result.

    The number of epochs, the device, time limits, checkpoint settings and parallelism may change between starts.
    """
    saved = parse_settings(TrainConfig, start.config, source=f"the configuration of {start.folder.url}")
    if start.details.get("dataset_digest") != facts["dataset_digest"]:
        has_other_split = start.details.get("split_fingerprint") not in {None, facts["split_fingerprint"]}
        raise ConfigError(
            f"dataset: {config.dataset} is not the one that {config.run_dir} was trained on ({saved.dataset}, "
            f"with {'another split' if has_other_split else 'other content'}); use that one, or another run_dir"
        )
    old, new = saved.result_settings(), config.result_settings()
    for key in chain(old, new):
        if old.get(key) != new.get(key):
            raise ConfigError(
                f"{key} is {_told(new, key)}, but {config.run_dir} was started with {_told(old, key)}; "
                "use that value, or another run_dir"
            )


def _told(settings: dict[str, JsonValue], key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "absent"


def _open(folder: Folder, lock: RunLock, world: World) -> None:
    """Lock an existing run folder before its checkpoints are read; a new one is created after all checks."""
    for file, what in {MANIFEST: "a dataset", MODEL_FILE: "a model"}.items():
        if folder.exists(file):
            raise ConfigError(f"run_dir: {folder.url} is {what}; use another folder for the run")
    if world.is_first and folder.exists():
        lock.take()


def _facts(dataset: Dataset) -> dict[str, JsonValue]:
    return {
        "dataset_digest": dataset.digest,
        "split_fingerprint": dataset.manifest.split.fingerprint,
        "recsys_dist_version": __version__,
        "torch_version": torch.__version__,
    }


def _digest(config: TrainConfig) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def _verify_share(dataset: Dataset, world: World) -> None:
    """Check the hashes of this rank's share of the files that training reads, before anything is written.

    Each rank also checks the files it reads itself, since each host may have its own copy of the dataset. Files
    behind a URL are checked when they are fetched.
    """
    if not dataset.folder.is_local:
        return
    read = [file for file in dataset.manifest.files if file.name.startswith(FILES_READ)]
    dataset.check(read[world.rank :: world.size])


def _opening(folder: Folder, start: Checkpoint | None, config: TrainConfig, dataset: Dataset) -> str:
    if start is None:
        note = "" if config.training.patience is None else _note_of_patience(dataset.manifest)
        learnt = f", starting from {config.start_from}" if config.start_from else ""
        return f"training in {folder.url}{learnt}{note}"
    if start.step >= config.training.epochs:
        return f"{folder.url} is finished after {start.step} epochs; raise training.epochs to continue"
    if start.details.get("has_converged"):
        return f"{folder.url} is finished: training converged after epoch {start.step}"
    stopping = EarlyStopping.of(start.details.get("early_stopping"))
    if stopping.is_exhausted(config.training.patience):
        return (
            f"{folder.url} is finished: early stopping after epoch {start.step}; "
            "raise training.patience to continue"
        )
    where = f"within epoch {start.step + 1}" if start.name.part else f"after epoch {start.step}"
    return f"{folder.url} resumes {where}"


def _note_of_patience(manifest: Manifest) -> str:
    if not manifest.num_ratings.get("valid"):
        return "; no validation ratings, so training.patience has no effect"
    return (
        "; the split holds out whole users, so training.patience has no effect" if manifest.holds_out_users else ""
    )


def _trackers(folder: Folder, config: TrainConfig, world: World) -> Trackers:
    names = config.training.trackers if world.is_first else ()
    return new_trackers(names, folder, config.model_dump(mode="json"))


def _plan(config: TrainConfig, setup: TrainingSetup[Any]) -> Plan | None:
    """The plan of the run, in a process as large as this one; None if the family has none. Collective."""
    model_plan = config.family.plan(setup.planned())
    process_bytes = resident_bytes()
    world = setup.collectives.world
    free = setup.collectives.gather_json(free_bytes(world.device, None))
    if model_plan is None or process_bytes is None:
        return None
    plan = to_record(model_plan, config, setup.dataset, process_bytes)
    if world.is_first:
        warn_of_lack(plan, free)
    return plan


def _announce(
    folder: Folder,
    lock: RunLock,
    status: RunStatus,
    config: TrainConfig,
    start: Checkpoint | None,
    plan: Plan | None,
    world: World,
) -> None:
    if world.is_first:
        folder.make()
        lock.take()
        tree = config.model_dump(mode="json")
        folder.write_bytes(CONFIG, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())
        if plan is not None:
            folder.write_bytes(PLAN, plan.to_json())
        status.begin(start.step if start is not None else 0)


def share_cores(world: World, config: TrainConfig) -> None:
    """Divide a node's cores among its ranks, if the launcher is not torchrun, which sets OMP_NUM_THREADS.

    A single process keeps torch's default, all cores. Only a family whose bits do not depend on the number of
    threads leaves out cores that other programs use at the start.
    """
    if NUM_THREADS in os.environ:
        return
    if world.size > 1:
        ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", world.size))
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks_here))
    elif (
        config.family.has_same_bits_on_any_threads
        and world.device.type == "cpu"
        and (num_free := free_cores()) < (num_threads := torch.get_num_threads())
    ):
        logger.warning("other programs use the cores: computing with %d of %d threads", num_free, num_threads)
        torch.set_num_threads(num_free)
