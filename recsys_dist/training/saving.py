"""When a run saves checkpoints: every so many epochs, or as often as costs little.

With `every: auto` a checkpoint is due once training has taken `LEAST_RATIO` times as long as the last save. A best
state that is not due is copied, and saved with the next one that is; if it is too large to copy, it is saved at
once. So the best state of a run that ends does not depend on time: a run that is killed in between does the same
epochs again. A run that fails loses the copy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from recsys_dist.checkpoint.state import TrainerState
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.distributed.collectives import Collectives

LEAST_RATIO = 10.0
"""Saving may take a tenth of the time of training."""
MOST_COPY = 256 << 20
"""Bytes of a copy on one rank, on average."""

Details = Mapping[str, JsonValue]


@dataclass(frozen=True)
class _Save:
    """The state after `step` epochs."""

    state: TrainerState
    step: int
    details: Details

    @property
    def num_bytes(self) -> int:
        """Of all ranks together: the same on every rank, also on one without rows."""
        return sum(
            rows.num_rows * math.prod(tensor.shape[1:]) * tensor.element_size()
            for rows in self.state.tables.values()
            for tensor in rows.tensors.values()
        )

    def copied(self) -> _Save:
        """A copy on the CPU, which training leaves alone."""
        tables = {
            name: replace(
                rows, tensors={key: tensor.detach().to("cpu", copy=True) for key, tensor in rows.tensors.items()}
            )
            for name, rows in self.state.tables.items()
        }
        return replace(self, state=replace(self.state, tables=tables))


class Saving:
    """The saves of one run on one rank. Every method is collective, with the same arguments on all ranks."""

    def __init__(self, store: CheckpointStore, every: int | str, collectives: Collectives) -> None:
        self._store, self._every, self._collectives = store, every, collectives
        self._best: _Save | None = None
        self._saved_at = time.monotonic()
        self._cost: float | None = None
        """Seconds of the last saves at once; None before them."""

    def after_epoch(
        self, state: Callable[[], TrainerState], step: int, details: Details, *, is_best: bool, is_last: bool
    ) -> None:
        """Save the state if it is due. `is_best`: keep it at any rate; `is_last`: the run ends or stops here."""
        is_due = is_last or self._is_due(step)
        if not (is_due or is_best):
            return
        save = _Save(state(), step, details)
        if is_best:
            self._best = None
        if is_due or self._every != "auto" or save.num_bytes > MOST_COPY * self._collectives.world.size:
            self._write(save)
        else:
            self._best = self._collectives.together("copying the best state", save.copied)

    def within_epoch(self, state: TrainerState, step: int, details: Details) -> None:
        """Save the state of a run that stops within the epoch after `step`."""
        self._write_best()
        self._store.save(state, step, details, whole_epoch=False)

    def is_regular(self, step: int) -> bool:
        """Whether the state after `step` epochs is saved whatever happens; never with `auto`."""
        return isinstance(self._every, int) and step % self._every == 0

    def _is_due(self, step: int) -> bool:
        if isinstance(self._every, int):
            return self.is_regular(step)
        is_due = self._cost is None or time.monotonic() - self._saved_at >= LEAST_RATIO * self._cost
        # The clocks of ranks differ.
        decided: bool = self._collectives.gather_json(is_due)[0]
        return decided

    def _write(self, save: _Save) -> None:
        started = time.monotonic()
        self._write_best()
        self._store.save(save.state, save.step, save.details)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started

    def _write_best(self) -> None:
        best, self._best = self._best, None
        if best is not None:
            self._store.save(best.state, best.step, best.details)
