"""Progress of a run: one line and one JSON record per epoch, from rank 0 only.

Out: a console line for each epoch, with a live progress bar if the console is a terminal, and
RUN_DIR/metrics.jsonl with each epoch exactly once, however often the run was interrupted. Trackers (trackers/) get
the same figures.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsys_dist.console import new_console
from recsys_dist.protocols.trainer import Trial
from recsys_dist.storage.folder import Folder
from recsys_dist.training.run_folder import METRICS
from recsys_dist.training.trackers.group import Trackers

TRAFFIC = "received_mb"
"""Figure of every epoch: megabytes that rank 0 has received from others."""
PEAK = "peak_memory_mb"
"""Figure of every epoch: the most megabytes that were resident so far, on the rank with the most."""
PEAK_OF_RANKS = "peak_memory_mb_of_ranks"
"""The same for each of several ranks, as a list in metrics.jsonl."""


@dataclass(frozen=True)
class EpochRecord:
    """The figures of one epoch; `epoch` counts from 1. Errors are over all ranks; `seconds` exclude validation.

    `is_searching`: the trainer is tuning settings, so the epoch is no candidate for the best one. `note` and
    `trials`: see `EpochResult`.
    `peak_bytes`: the most memory that each rank has had resident so far; None if unknown.
    """

    epoch: int
    train_rmse: float | None
    valid_rmse: float | None
    num_ratings: int
    seconds: float
    extra: Mapping[str, float]
    is_searching: bool = False
    note: str | None = None
    trials: Sequence[Trial] = ()
    peak_bytes: Sequence[int | None] = ()

    @property
    def ratings_per_s(self) -> float:
        """Train ratings per second, over all ranks together."""
        return self.num_ratings / max(self.seconds, 1e-9)

    def figures(self) -> dict[str, float | None]:
        """All figures by name, except the epoch number; None if not finite."""
        figures: dict[str, float | None] = {
            **self.extra,
            "train_rmse": self.train_rmse,
            "valid_rmse": self.valid_rmse,
            "ratings_per_s": self.ratings_per_s,
            "seconds": self.seconds,
        }
        peaks = [peak / 1e6 for peak in self.peak_bytes if peak is not None]
        if peaks:
            figures[PEAK] = max(peaks)
        return {name: _finite(figure) for name, figure in figures.items()}

    def to_json(self) -> str:
        """One line of metrics.jsonl."""
        line: dict[str, object] = {**self.figures(), "epoch": self.epoch}
        if self.is_searching:
            line["searching"] = True
        if len(self.peak_bytes) > 1:
            line[PEAK_OF_RANKS] = [None if peak is None else peak / 1e6 for peak in self.peak_bytes]
        if self.note is not None:
            line["note"] = self.note
        if self.trials:
            line["trials"] = [{**asdict(trial), "value": _finite(trial.value)} for trial in self.trials]
        return json.dumps(line, sort_keys=True)

    def to_text(self, epochs: int, remaining_s: float) -> str:
        """One line for the console."""
        search = " (search)" if self.is_searching else ""
        valid = "" if self.valid_rmse is None else f"valid RMSE {self.valid_rmse:.4f}{search}  "
        return (
            f"epoch {self.epoch:>{len(str(epochs))}}/{epochs}  {self._train_text()}  {valid}"
            f"{self.ratings_per_s:,.0f} ratings/s  {self.seconds:.2f} s  left at most {_clock(remaining_s)}"
        )

    def _train_text(self) -> str:
        if self.train_rmse is not None:
            return f"train RMSE {self.train_rmse:.4f}"
        return "  ".join(f"{name} {figure:.4f}" for name, figure in self.extra.items() if name != TRAFFIC)


class Tracker:
    """Shows and stores the figures of a run; silent if `is_active` is False, as on all ranks but the first.

    `trackers` also get the figures, and are closed with the tracker. `check` is called before each write, and
    raises if the folder does not belong to the run any more.
    """

    def __init__(
        self,
        folder: Folder,
        epochs: int,
        is_active: bool,
        console: Console | None = None,
        trackers: Trackers | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._check = folder, check
        self._epochs = epochs
        self._is_active = is_active
        self._trackers = trackers or Trackers()
        self._ending: tuple[str, Mapping[str, float]] = ("failed", {})
        self._console = console or new_console(soft_wrap=True)
        self._lines: list[str] = []
        self._started = (0, time.monotonic())
        bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *bar, console=self._console, transient=True, disable=not (is_active and self._console.is_terminal)
        )
        self._task = self._progress.add_task("epochs", total=epochs)

    def __enter__(self) -> Tracker:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        # A second Ctrl-C must not wait for a server.
        if error is None or isinstance(error, Exception):
            self._trackers.close(*self._ending)

    def start(self, epochs_done: int) -> None:
        """Begin after `epochs_done` epochs; removes records of later epochs, which will be trained again."""
        self._started = (epochs_done, time.monotonic())
        self._progress.update(self._task, completed=epochs_done)
        if self._is_active and self._folder.exists(METRICS):
            lines = self._folder.read_bytes(METRICS).decode("utf-8", errors="replace").splitlines()
            self._lines = [line for line in lines if 0 < _epoch_of(line) <= epochs_done]
            if self._lines != lines:
                self._write()
        if epochs_done < self._epochs:
            self._trackers.open(epochs_done, {_epoch_of(line): _figures_of(line) for line in self._lines})

    def log(self, record: EpochRecord) -> None:
        """Show and store one epoch. Raises `OSError` if the record cannot be written."""
        if not self._is_active:
            return
        self.require_folder()
        self._lines.append(record.to_json())
        self._write()
        self._trackers.log(record.epoch, record.figures())
        self._progress.update(self._task, completed=record.epoch)
        self._console.print(
            record.to_text(self._epochs, self._remaining_s(record.epoch)), markup=False, highlight=False
        )

    def end(self, outcome: str, best: tuple[int, float] | None) -> None:
        """Note how the run ended; `best` is the epoch with the best validation RMSE, and that."""
        figures = {} if best is None else {"best_epoch": float(best[0]), "best_valid_rmse": best[1]}
        self._ending = (outcome, figures)

    def require_folder(self) -> None:
        """Raise if the folder does not belong to the run any more."""
        if self._is_active:
            self._check()

    def say(self, text: str) -> None:
        """Show one line."""
        if self._is_active:
            self._console.print(text, markup=False, highlight=False)

    def _remaining_s(self, epoch: int) -> float:
        first, since = self._started
        return (time.monotonic() - since) / max(1, epoch - first) * (self._epochs - epoch)

    def _write(self) -> None:
        # Rewritten as a whole: no partial lines, and object stores cannot append.
        self._folder.write_bytes(METRICS, "".join(f"{line}\n" for line in self._lines).encode())


def _epoch_of(line: str) -> int:
    try:
        epoch: Any = json.loads(line)["epoch"]
    except (ValueError, TypeError, KeyError):
        return 0
    return epoch if isinstance(epoch, int) else 0


def _figures_of(line: str) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl."""
    found: dict[str, Any] = json.loads(line)
    del found["epoch"]
    return {name: one for name, one in found.items() if isinstance(one, int | float) and not isinstance(one, bool)}


def _finite(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
