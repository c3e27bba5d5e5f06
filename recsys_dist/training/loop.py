"""The training loop for any model: train an epoch, validate, log, save when due, stop on request.

Each decision that leads to a collective (save, stop) depends only on values that are equal on all ranks: epoch
counts, sums over all ranks, or all-reduced flags.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pydantic import JsonValue

from recsys_dist.checkpoint.checkpoint import Checkpoint
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import SharedError
from recsys_dist.metrics import ErrorSums
from recsys_dist.process.peak_memory import peak_bytes
from recsys_dist.protocols.trainer import EpochResult, Trainer
from recsys_dist.protocols.warm_start import WarmStart
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.early_stopping import EarlyStopping
from recsys_dist.training.saving import Saving
from recsys_dist.training.tracking import TRAFFIC, EpochRecord, Tracker


class Outcome(enum.Enum):
    """How a run ended; its state is saved in each case."""

    FINISHED = "finished"
    CONVERGED = "converged"
    EARLY_STOPPED = "early_stopped"
    PREEMPTED = "preempted"


def fit(
    trainer: Trainer,
    store: CheckpointStore,
    tracker: Tracker,
    config: TrainConfig,
    collectives: Collectives,
    preempted: Callable[[], bool],
    start: Checkpoint | WarmStart | None = None,
    facts: Mapping[str, JsonValue] | None = None,
    stops_early: bool = True,
) -> Outcome:
    """Train until the last epoch, convergence, early stopping, or a stop request on any rank.

    `start` is a checkpoint to resume from, or a warm start; every checkpoint records `facts` and the
    configuration. `stops_early`: whether the validation error decides when to stop and which epoch is the best.
    """
    stopping = collectives.together("reading the checkpoint", lambda: _resume(trainer, start))
    collectives.together("opening the metrics", lambda: tracker.start(trainer.epochs_done))
    noted = {**(facts or {}), "config": config.model_dump(mode="json")}

    with Saving(store, config.checkpoint.every, collectives, tracker.require_folder) as saving:
        return _train(trainer, saving, tracker, config, collectives, preempted, stopping, noted, stops_early)


def _train(
    trainer: Trainer,
    saving: Saving,
    tracker: Tracker,
    config: TrainConfig,
    collectives: Collectives,
    preempted: Callable[[], bool],
    stopping: EarlyStopping,
    noted: Mapping[str, JsonValue],
    stops_early: bool,
) -> Outcome:
    def should_stop() -> bool:
        saving.commit_written()
        return collectives.any_rank(preempted())

    # With patience, a run ends long after its best epoch. By `auto`, what is saved otherwise depends on time.
    keeps_best = config.training.patience is not None or config.checkpoint.every == "auto"
    received = collectives.received_in_all_bytes
    while not _is_over(trainer, stopping, config):
        started = time.monotonic()
        result = trainer.train_epoch(should_stop)
        if not result.finished:
            saving.within_epoch(trainer.state(), trainer.epochs_done, _details(noted, stopping))
            return Outcome.PREEMPTED
        seconds = time.monotonic() - started
        valid_rmse = _validate(trainer, collectives)
        # Validation during a search judges trials, which are not candidates for the best state.
        judged = valid_rmse if stops_early and not trainer.is_searching else None
        stopping = stopping.after(judged)
        received_before, received = received, collectives.received_in_all_bytes
        result = replace(result, extra={**result.extra, TRAFFIC: (received - received_before) / 1e6})
        peaks = collectives.gather_json(peak_bytes())
        log = partial(_log, tracker, trainer, result, valid_rmse, seconds, peaks)
        collectives.together(f"epoch {trainer.epochs_done}", log)
        stop, is_over = should_stop(), _is_over(trainer, stopping, config)
        is_best = keeps_best and judged is not None and stopping.epochs_without_gain == 0
        # A save that a stop request adds must not become the best: an unbroken run has none.
        is_candidate = keeps_best or is_over or saving.is_regular(trainer.epochs_done)
        details = _details(noted, stopping, judged if is_candidate else None, trainer.has_converged)
        saving.after_epoch(trainer.state, trainer.epochs_done, details, is_best=is_best, is_last=stop or is_over)
        if stop and not is_over:
            return Outcome.PREEMPTED
    return _outcome(trainer, config)


def _outcome(trainer: Trainer, config: TrainConfig) -> Outcome:
    if trainer.has_converged:
        return Outcome.CONVERGED
    return Outcome.FINISHED if trainer.epochs_done >= config.training.epochs else Outcome.EARLY_STOPPED


def _resume(trainer: Trainer, start: Checkpoint | WarmStart | None) -> EarlyStopping:
    if start is None:
        return EarlyStopping()
    trainer.load_state(start)
    # A warm start is a new run, so early stopping starts afresh.
    return (
        EarlyStopping() if isinstance(start, WarmStart) else EarlyStopping.of(start.details.get("early_stopping"))
    )


def _is_over(trainer: Trainer, stopping: EarlyStopping, config: TrainConfig) -> bool:
    is_exhausted = stopping.is_exhausted(config.training.patience)
    return trainer.epochs_done >= config.training.epochs or trainer.has_converged or is_exhausted


def _validate(trainer: Trainer, collectives: Collectives) -> float | None:
    """The validation RMSE of rank 0, so that all ranks stop in the same epoch; None if there is none."""
    sums = trainer.validate()
    if sums is None:
        return None
    _require_finite(sums, f"validation after epoch {trainer.epochs_done}")
    rmse: float | None = collectives.gather_json(sums.rmse if sums.count else None)[0]
    return rmse


def _log(
    tracker: Tracker,
    trainer: Trainer,
    result: EpochResult,
    valid_rmse: float | None,
    seconds: float,
    peaks: Sequence[int | None],
) -> None:
    if result.train is not None:
        _require_finite(result.train, f"epoch {trainer.epochs_done}")
    record = EpochRecord(
        epoch=trainer.epochs_done,
        train_rmse=None if result.train is None else result.train.rmse,
        valid_rmse=valid_rmse,
        num_ratings=result.num_ratings,
        seconds=seconds,
        extra=result.extra,
        is_searching=trainer.is_searching,
        note=result.note,
        trials=result.trials,
        peak_bytes=peaks,
    )
    tracker.log(record)
    if result.note is not None:
        tracker.say(f"  {result.note}")


def _require_finite(sums: ErrorSums, when: str) -> None:
    if not math.isfinite(sums.squared):
        raise SharedError(f"{when}: the sum of squared errors is {sums.squared}: training diverged")


def _details(
    noted: Mapping[str, JsonValue],
    stopping: EarlyStopping,
    valid_rmse: float | None = None,
    has_converged: bool = False,
) -> dict[str, JsonValue]:
    found = {
        "valid_rmse": valid_rmse,
        "early_stopping": stopping.model_dump(mode="json"),
        "has_converged": has_converged,
    }
    return {**noted, **found}
