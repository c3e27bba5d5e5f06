"""The settings of the split into train, validation and test."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from recsys_dist.config import Settings
from recsys_dist.preparation.settings.paths import Paths

Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Timestamp = Annotated[int, Field(gt=-(2**63), lt=2**63)]


class RandomSplit(Settings):
    """Random split by a hash of seed, user and item; the split of a pair does not depend on other ratings."""

    kind: Literal["random"]
    test: Fraction = 0.1
    valid: Fraction = 0.05
    seed: Seed = 0

    @model_validator(mode="after")
    def _leaves_train(self) -> RandomSplit:
        if self.test + self.valid >= 1:
            raise ValueError("test + valid must be below 1 to leave ratings to train on")
        return self


class LeaveNOutSplit(Settings):
    """Holds out a number of ratings of each user for test and validation.

    At least `min_train` ratings of each user stay in train; of the others, test takes precedence.
    """

    kind: Literal["leave_n_out"]
    test: int = Field(default=1, ge=0)
    valid: int = Field(default=1, ge=0)
    by: Literal["time", "hash"] = "time"
    """`time`: the user's latest ratings are test, those before them validation; equal timestamps are ordered by
    hash. `hash`: drawn by a hash of seed, user and item."""
    min_train: int = Field(default=1, ge=0)
    seed: Seed = 0


class TimeSplit(Settings):
    """Global split by time: the latest ratings are test, those before them validation.

    Equal timestamps stay together. `test` and `valid` are fractions of all ratings that are never exceeded.
    Instead, `test_from` and `valid_from` give the first timestamp, in units of the input (for dates, seconds since
    1970).
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
            raise ValueError("test + valid must be below 1 to leave ratings to train on")
        return self


class UsersSplit(Settings):
    """Holds out whole users, drawn by a hash of seed and user: `test` and `valid` are fractions of the users.

    Training sees no rating of them. Evaluation folds each of them in from a part of its ratings, and judges by the
    other ones (strong generalization). A user stays in its split when ratings are appended.
    """

    kind: Literal["users"]
    test: Fraction = 0.1
    valid: Fraction = 0.0
    """During training these users are without ratings, so their validation error measures the items alone."""
    fold_in_share: Fraction = 0.8
    """Probability that a rating of a held-out user is folded in, drawn by a hash of seed, user and item."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _leaves_train(self) -> UsersSplit:
        if self.test + self.valid >= 1:
            raise ValueError("test + valid must be below 1 to leave users to train on")
        return self


class FilesSplit(Settings):
    """Fixed split: separate files for train and test."""

    kind: Literal["files"]
    train: Paths = Field(min_length=1)
    test: Paths = Field(min_length=1)
    valid: Fraction | Paths = 0.0
    """A fraction drawn from the train files, or separate files."""
    seed: Seed = 0


SplitRule = RandomSplit | LeaveNOutSplit | TimeSplit | UsersSplit | FilesSplit


def with_kind(tree: Any) -> Any:
    """Add `kind: random` to the settings of a split if only fractions and a seed are given; a number is `test`.

    Raises `ValueError` if the kind is missing and cannot be implied.
    """
    if _is_share(tree):
        return {"kind": "random", "test": tree}
    if not isinstance(tree, dict) or "kind" in tree:
        return tree
    shares = [tree[name] for name in ("test", "valid") if name in tree]
    # Unknown keys are refused by name later.
    others = {name for kind in (LeaveNOutSplit, TimeSplit, UsersSplit, FilesSplit) for name in kind.model_fields}
    if not tree.keys() & (others - RandomSplit.model_fields.keys()) and all(map(_is_share, shares)):
        return {"kind": "random", **tree}
    raise ValueError(
        "key 'split.kind' is required, one of random, leave_n_out, time, users and files; it defaults to random "
        "if only test and valid, fractions from 0 to below 1, and seed are given"
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def needs_timestamps(rule: SplitRule) -> bool:
    """Whether the rule depends on timestamps."""
    return rule.kind == "time" or (rule.kind == "leave_n_out" and rule.by == "time")
