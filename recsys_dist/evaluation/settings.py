"""What is evaluated, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from recsys_dist.errors import ConfigError

RANKING_USERS = 20_000
TOP = (10,)


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of an evaluation. Raises `ConfigError` if `relevant_from` is not finite."""

    split: str = "test"
    relevant_from: float | None = None
    """Ratings of at least this value are relevant. None: the train mean; all interactions of data without
    ratings."""
    ranking_users: int = RANKING_USERS
    """Most users whose items are ranked; 0: no ranking."""
    top: tuple[int, ...] = TOP
    """Cut-offs of the lists, ascending."""
    allow_train: bool = False
    allow_other_split: bool = False

    def __post_init__(self) -> None:
        assert list(self.top) == sorted(set(self.top)), "as_tops sorts"
        if self.relevant_from is not None and not math.isfinite(self.relevant_from):
            raise ConfigError(f"relevant_from {self.relevant_from} is not a rating; use a finite number")


def parse_tops(text: str) -> tuple[int, ...]:
    """Cut-offs from text such as `5,10,20`. Raises `ConfigError` if it is something else."""
    try:
        return as_tops([int(part) for part in text.split(",")])
    except ValueError:
        raise ConfigError(
            f"top {text!r} is not a list of whole numbers; give for example 10, or 5,10,20"
        ) from None


def as_tops(top: int | Sequence[int]) -> tuple[int, ...]:
    """Cut-offs in ascending order. Raises `ConfigError` if one is below 1, given twice or not a whole number."""
    tops = list(top) if isinstance(top, Sequence) else [top]
    for one in tops:
        if not isinstance(one, Integral) or isinstance(one, bool) or one < 1:
            raise ConfigError(f"top {one!r} is not the length of a list; give whole numbers, 1 or more")
    if not tops:
        raise ConfigError("top is empty; give one cut-off or more, such as 10")
    twice = next((one for one in tops if tops.count(one) > 1), None)
    if twice is not None:
        raise ConfigError(f"top {twice} is given twice; give each cut-off once")
    return tuple(sorted(int(one) for one in tops))
