"""The best state of a run: one rule for early stopping, `checkpoint.keep`, the log, merge and the report.

The lowest validation RMSE wins; among equal ones, the latest. A state has no validation RMSE if it was saved
within an epoch, without a validation split, or during a search whose trials may be reverted; such states rank
last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from recsys_dist.checkpoint.manifest import CheckpointName


def preference(valid_rmse: float | None, name: CheckpointName) -> tuple[float, int, int]:
    """Sort key: the best state first."""
    return (math.inf if valid_rmse is None else valid_rmse, -name.step, -name.part)


def best_of(rated: Mapping[CheckpointName, float | None]) -> tuple[CheckpointName, float] | None:
    """The best state and its validation RMSE; None if no state has one."""
    known = {name: rmse for name, rmse in rated.items() if rmse is not None}
    if not known:
        return None
    name = min(known, key=lambda name: preference(known[name], name))
    return name, known[name]


def is_as_good(valid_rmse: float, best_rmse: float | None) -> bool:
    """Whether a later state replaces the best one so far."""
    return best_rmse is None or valid_rmse <= best_rmse
