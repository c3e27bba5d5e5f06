"""A short training on a sample, which tells how fast this machine is and how much memory a process takes itself.

    manifest --sample.py--> a dataset of a few seconds --training on ranks of this machine--> metrics.jsonl

The sample keeps as many rows of the sides that the family names as make an epoch cheap enough.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Manifest, Shard, Side
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.local_ranks import RANK, run_local_ranks
from recsys_dist.errors import TrainingError
from recsys_dist.planning.sample import write_sample
from recsys_dist.process.heap import keep_freed_memory
from recsys_dist.process.peak_memory import resident_bytes
from recsys_dist.process.sigterm import ended_by_sigterm
from recsys_dist.process.spawning import without_main_program
from recsys_dist.protocols.family import ModelFamily
from recsys_dist.protocols.plan import AnyPlan, PlanSetup
from recsys_dist.protocols.registry import add
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import CheckpointSettings, TrainConfig, TrainingSettings
from recsys_dist.training.plan import memory_of
from recsys_dist.training.run import keeps_freed_memory, run_training, share_cores
from recsys_dist.training.run_folder import METRICS
from recsys_dist.training.tracking import PEAK

WORK_NS = 5e9
"""Work of all epochs of the rehearsal on each rank."""
MOST_RATINGS = 4_000_000
"""Train ratings of the sample, which takes about a second for each million to write."""
ROOM_BYTES = 1 << 30
"""Memory of a rank in the rehearsal, besides the process itself."""
LEAST_SHARE = 1e-6
EPOCHS, EPOCHS_A_SAVE = 4, 2
"""A checkpoint is written while the next epoch runs, which slows it: every other epoch runs alone."""


@dataclass(frozen=True)
class Measured:
    """What a rehearsal has measured."""

    epoch_seconds: float
    """Of an epoch of the whole dataset."""
    process_bytes: int
    """Memory of a process, besides what the family counts."""


def rehearse(config: TrainConfig, setup: PlanSetup[Any], plan: AnyPlan) -> Measured | None:
    """Train on a sample on as many ranks as this machine has cores for.

    None if the memory of processes is unknown. Raises `TrainingError` with the reason if the training fails.
    """
    num_ranks = min(setup.num_ranks, os.cpu_count() or 1)
    local = replace(setup, settings=plan.settled, epochs=_epochs(plan), free=setup.free[:num_ranks])
    shares = _shares(config.family, local, plan)
    with ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="recsys_dist-plan-") as folder:
        sample = write_sample(setup.dataset.manifest, shares, _new_folder(f"{folder}/data"))
        epochs = _train(_short_run(config, plan, Path(folder)), num_ranks)
    small = config.family.plan(local.on(sample))
    assert small is not None, "the family has planned the whole"
    peaks = [epoch[PEAK] for epoch in epochs if PEAK in epoch]
    if not peaks:
        return None
    # The first epoch sets up what the others reuse; the fastest of those is one without a save beside it.
    seconds = min(epoch["seconds"] for epoch in epochs[1:] or epochs)
    counted = max(sum(memory_of(rank, small).values()) for rank in small.ranks)
    # The peak of the whole dataset is known. Of a part, too much may be counted: an empty process is the least.
    is_whole = min(shares.values()) == 1
    least = 0 if is_whole else resident_bytes() or 0
    process_bytes = max(least, int(peaks[-1] * 1e6) - counted)
    return Measured(seconds * plan.most_work / small.most_work, process_bytes)


def _new_folder(url: str) -> Folder:
    folder = Folder(url)
    folder.make()
    return folder


def _shares(family: ModelFamily[Any], setup: PlanSetup[Any], plan: AnyPlan) -> Mapping[Side, float]:
    """The largest shares of users and items with which an epoch is cheap enough and fits `ROOM_BYTES`.

    Thins the sides that the family names, and then both.
    """
    for sides in (tuple(plan.thinned), SIDES):
        share = _largest_share(family, setup, sides)
        if share is not None:
            break
    return {side: (share or LEAST_SHARE) if side in sides else 1.0 for side in SIDES}


def _largest_share(family: ModelFamily[Any], setup: PlanSetup[Any], sides: tuple[Side, ...]) -> float | None:
    """By bisection; None if a thousandth is too much already."""
    share, too_much = 1e-3, 1.0

    def is_cheap(share: float) -> bool:
        thin = {side: share if side in sides else 1.0 for side in SIDES}
        sample = _thinned(setup.dataset, thin)
        plan = family.plan(setup.on(sample))
        assert plan is not None, "the family has planned the whole"
        memory = max(sum(memory_of(rank, plan).values()) for rank in plan.ranks)
        is_short = sample.manifest.num_ratings["train"] <= MOST_RATINGS
        return is_short and plan.most_work * _epochs(plan) <= WORK_NS and memory <= ROOM_BYTES

    if is_cheap(1.0):
        return 1.0
    if not is_cheap(share):
        return None
    while too_much / share > 1.05:
        tried = (share * too_much) ** 0.5
        share, too_much = (tried, too_much) if is_cheap(tried) else (share, tried)
    return share


def _epochs(plan: AnyPlan) -> int:
    return 1 if plan.is_whole else EPOCHS


def _thinned(dataset: Dataset, shares: Mapping[Side, float]) -> Dataset:
    """A dataset that has only a manifest: that of a sample."""
    manifest = dataset.manifest
    kept = shares["users"] * shares["items"]
    counts = {split: round(count * kept) for split, count in manifest.num_ratings.items()}
    changes: dict[str, Any] = {"num_ratings": {**counts, "train": max(1, counts["train"])}}
    for side, name in zip(SIDES, ("user_shards", "item_shards"), strict=True):
        shards: list[Shard] = []
        for shard in dataset.shards(side):
            start = shards[-1].stop if shards else 0
            rows = max(1, round(shard.num_rows * shares[side])) if shard.num_rows else 0
            shards.append(Shard(start=start, stop=start + rows, num_ratings=round(shard.num_ratings * kept)))
        changes |= {name: tuple(shards), f"num_{side}": shards[-1].stop}
    thin: Manifest = manifest.model_copy(update=changes)
    return Dataset(dataset.folder, thin, dataset.digest)


def _short_run(config: TrainConfig, plan: AnyPlan, folder: Path) -> TrainConfig:
    """A few epochs on the sample, with checkpoints, which take memory."""
    training = TrainingSettings(
        epochs=_epochs(plan),
        memory_limit=config.training.memory_limit,
        timeout_s=config.training.timeout_s,
    )
    changes = {
        "dataset": f"{folder}/data",
        "run_dir": f"{folder}/run",
        "start_from": None,
        "device": "cpu",
        "model": plan.settled,
        "training": training,
        "checkpoint": CheckpointSettings(every=EPOCHS_A_SAVE, keep=1),
    }
    return config.model_copy(update=changes)


def _train(config: TrainConfig, num_ranks: int) -> list[dict[str, Any]]:
    """The records of all epochs."""
    num_threads = None if num_ranks == 1 else max(1, (os.cpu_count() or 1) // num_ranks)
    try:
        with without_main_program(RANK):
            work = partial(_train_on_rank, config, config.family)
            run_local_ranks(work, num_ranks, config.training.timeout_s, num_threads)
    except TrainingError as error:
        raise TrainingError(f"measuring this machine failed: {error}; --no-measure leaves the time out") from error
    return [json.loads(line) for line in Folder(config.run_dir).read_bytes(METRICS).splitlines()]


def _train_on_rank(config: TrainConfig, family: ModelFamily[Any], collectives: Collectives) -> None:
    add(family)
    if keeps_freed_memory(config):
        keep_freed_memory()
    share_cores(collectives.world, config)
    run_training(config, collectives, preempted=lambda: False)
