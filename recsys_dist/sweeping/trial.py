"""One trial: an ordinary training on one rank in a process of its own, and what it has come to so far."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.local_ranks import run_local_ranks
from recsys_dist.errors import RecsysDistError
from recsys_dist.protocols.family import ModelFamily
from recsys_dist.storage.folder import Folder
from recsys_dist.sweeping.goal import Goal, measured
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.local_training import train_on_rank
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run_folder import METRICS

RESULT = "trial.json"
"""In the run folder of a finished trial: its value and its epochs."""


class RunningTrial:
    """A trial that trains by `config` with `num_threads` threads, until it ends or `stop_file` exists."""

    def __init__(
        self,
        number: int,
        config: TrainConfig,
        goal: Goal,
        num_threads: int,
        stop_file: Path,
        on_end: Callable[[], None],
    ) -> None:
        self.number, self.config, self.is_pruned = number, config, False
        self.error: str | None = None
        """Why it has failed."""
        self._stop_file, self._on_end, self._started = stop_file, on_end, time.monotonic()
        self._work = partial(_train, config, config.family, goal, stop_file)
        self._num_threads = num_threads
        self._thread = threading.Thread(target=self._run, name=f"trial {number}", daemon=True)
        (Path(config.run_dir) / RESULT).unlink(missing_ok=True)

    def start(self) -> None:
        """Start the process."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to save its state and to end."""
        self._stop_file.touch()

    def prune(self) -> None:
        """Stop it for good."""
        self.is_pruned = True
        self.stop()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the end of the process."""
        self._thread.join(timeout_s)

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return not self._thread.is_alive()

    @property
    def seconds(self) -> float:
        """Since this start of it."""
        return time.monotonic() - self._started

    def judged_epochs(self) -> dict[int, float]:
        """The validation RMSE after each epoch, except those of a search within the training."""
        return dict(_judged(Path(self.config.run_dir) / METRICS))

    def result(self) -> tuple[float, int] | None:
        """Value and epochs; None if it was stopped."""
        path = Path(self.config.run_dir) / RESULT
        if not path.exists():
            return None
        found = json.loads(path.read_bytes())
        return float(found["value"]), int(found["epochs"])

    def _run(self) -> None:
        try:
            run_local_ranks(self._work, 1, self.config.training.timeout_s, self._num_threads)
        except (RecsysDistError, OSError) as error:
            self.error = " ".join(str(error).split())
        finally:
            self._on_end()


def _judged(path: Path) -> list[tuple[int, float]]:
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        (line["epoch"], line["valid_rmse"])
        for line in lines
        if line.get("valid_rmse") is not None and not line.get("searching")
    ]


def _train(
    config: TrainConfig, family: ModelFamily[Any], goal: Goal, stop: Path, collectives: Collectives
) -> None:
    """In the process: train, measure, and write the result."""
    if train_on_rank(config, family, stop, collectives) is not Outcome.PREEMPTED:
        epochs = (Path(config.run_dir) / METRICS).read_text(encoding="utf-8").count("\n")
        result = {"value": measured(goal, config), "epochs": epochs}
        Folder(config.run_dir).expect().write_bytes(RESULT, (json.dumps(result) + "\n").encode())
