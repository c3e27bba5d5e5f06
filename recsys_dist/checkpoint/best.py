"""Which state of a run is the best: one rule for early stopping, `checkpoint.keep`, the log, merge and the report.

The lowest validation RMSE, of equal ones the latest. A state has none where it was saved within an epoch, without
a validation split, or while a search tries something that may be taken back; it comes after all that have one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from recsys_dist.checkpoint.manifest import CheckpointName


def preference(valid_rmse: float | None, name: CheckpointName) -> tuple[float, int, int]:
    """What sorts the best first."""
    return (math.inf if valid_rmse is None else valid_rmse, -name.step, -name.part)


def best_of(rated: Mapping[CheckpointName, float | None]) -> tuple[CheckpointName, float] | None:
    """The best state and its validation RMSE; None where none has one."""
    known = {name: rmse for name, rmse in rated.items() if rmse is not None}
    if not known:
        return None
    name = min(known, key=lambda name: preference(known[name], name))
    return name, known[name]


def is_as_good(valid_rmse: float, best_rmse: float | None) -> bool:
    """Whether a later state takes the place of the best one before it."""
    return best_rmse is None or valid_rmse <= best_rmse
