"""Training on several ranks of this machine, without a launcher."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.local_ranks import RANK, run_local_ranks
from recsys_dist.process.heap import keep_freed_memory
from recsys_dist.process.preemption import watch_for_preemption
from recsys_dist.process.spawning import without_main_program
from recsys_dist.protocols.family import ModelFamily
from recsys_dist.protocols.registry import add
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run import run_training
from recsys_dist.training.run_folder import STATUS

LOOK_S = 0.2


def train_on_local_ranks(config: TrainConfig, num_ranks: int) -> Outcome:
    """Train on `num_ranks` CPU ranks, each with its share of the cores.

    On a first Ctrl-C or SIGTERM the ranks save and return. Raises `TrainingError` with the rank that failed first.
    """
    num_threads = max(1, (os.cpu_count() or 1) // num_ranks)
    with (
        tempfile.TemporaryDirectory(prefix="recsys_dist-stop-") as folder,
        _passed_on(Path(folder) / "stop") as stop,
        without_main_program(RANK),
    ):
        work = partial(train_on_rank, config, config.family, stop)
        run_local_ranks(work, num_ranks, config.training.timeout_s, num_threads)
    status = json.loads(Folder(config.run_dir).read_bytes(STATUS))
    return Outcome(status["outcome"])


def train_on_rank(config: TrainConfig, family: ModelFamily[Any], stop: Path, collectives: Collectives) -> Outcome:
    """Train in a process that was started for it, until the file `stop` exists."""
    add(family)
    keep_freed_memory()
    return run_training(config, collectives, preempted=stop.exists)


@contextmanager
def _passed_on(stop: Path) -> Iterator[Path]:
    """Forward signals to the ranks through a file: not every Ctrl-C reaches them, and they ignore SIGINT."""
    is_over = threading.Event()
    with watch_for_preemption() as preempted:
        watcher = threading.Thread(target=_pass_on, args=(preempted, stop, is_over), daemon=True)
        watcher.start()
        try:
            yield stop
        finally:
            is_over.set()
            watcher.join()


def _pass_on(preempted: Callable[[], bool], stop: Path, is_over: threading.Event) -> None:
    while not is_over.wait(LOOK_S):
        if preempted():
            stop.touch()
            return
