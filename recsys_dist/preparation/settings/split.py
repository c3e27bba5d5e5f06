"""The settings that say which ratings train, validate and test."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from recsys_dist.config import Settings
from recsys_dist.preparation.settings.paths import Paths

Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Timestamp = Annotated[int, Field(gt=-(2**63), lt=2**63)]


class RandomSplit(Settings):
    """Each pair is drawn by a hash of seed, user and item: it falls the same way whatever else is there."""

    kind: Literal["random"]
    test: Fraction = 0.1
    valid: Fraction = 0.05
    seed: Seed = 0

    @model_validator(mode="after")
    def _leaves_train(self) -> RandomSplit:
        if self.test + self.valid >= 1:
            raise ValueError("test + valid must be below 1, or no rating is left to train on")
        return self


class LeaveNOutSplit(Settings):
    """Of each user some ratings are for testing, some others for validation, and the rest trains.

    A user with too few for all of it keeps `min_train` to train on; what is left goes to testing first.
    """

    kind: Literal["leave_n_out"]
    test: int = Field(default=1, ge=0)
    valid: int = Field(default=1, ge=0)
    by: Literal["time", "hash"] = "time"
    """`time`: the latest of the user are for testing, those before them for validation, equally late ones in the
    order of `hash`. `hash`: any, drawn by a hash of seed, user and item."""
    min_train: int = Field(default=1, ge=0)
    seed: Seed = 0


class TimeSplit(Settings):
    """The latest of all ratings are for testing, those before them for validation.

    Equally late ones stay together. `test` and `valid` are fractions of all ratings that are never exceeded; for
    each the first timestamp may be given instead, in units of the input, which are seconds since 1970 for dates.
    """

    kind: Literal["time"]
    test: Fraction = 0.1
    valid: Fraction = 0.05
    test_from: Timestamp | None = None
    valid_from: Timestamp | None = None

    @model_validator(mode="after")
    def _is_told_once(self) -> TimeSplit:
        for name in ("test", "valid"):
            if name in self.model_fields_set and getattr(self, f"{name}_from") is not None:
                raise ValueError(f"{name} is a fraction and {name}_from a timestamp; give one of them")
        if self.test_from is not None and self.valid_from is not None and self.valid_from >= self.test_from:
            raise ValueError(f"valid_from {self.valid_from} is not before test_from {self.test_from}")
        if self.test_from is None and self.valid_from is None and self.test + self.valid >= 1:
            raise ValueError("test + valid must be below 1, or no rating is left to train on")
        return self


class FilesSplit(Settings):
    """The files say which ratings are for training and which for testing."""

    kind: Literal["files"]
    train: Paths = Field(min_length=1)
    test: Paths = Field(min_length=1)
    valid: Fraction | Paths = 0.0
    """A fraction to draw from the train files, or files of their own."""
    seed: Seed = 0


SplitRule = RandomSplit | LeaveNOutSplit | TimeSplit | FilesSplit


def with_kind(tree: Any) -> Any:
    """The settings of a split, with the kind that fractions alone imply.

    Raises `ValueError` where the kind is missing and they do not.
    """
    if not isinstance(tree, dict) or "kind" in tree:
        return tree
    shares = [tree[name] for name in ("test", "valid") if name in tree]
    # A key of no kind at all is refused by its name.
    others = {name for kind in (LeaveNOutSplit, TimeSplit, FilesSplit) for name in kind.model_fields}
    if not tree.keys() & (others - RandomSplit.model_fields.keys()) and all(map(_is_share, shares)):
        return {"kind": "random", **tree}
    raise ValueError(
        "key 'split.kind' is required here, as one of random, leave_n_out, time and files; it is random where "
        "nothing but fractions test and valid, from 0 to below 1, and a seed are given"
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def needs_timestamps(rule: SplitRule) -> bool:
    """Whether the rule asks when a rating was given."""
    return rule.kind == "time" or (rule.kind == "leave_n_out" and rule.by == "time")
