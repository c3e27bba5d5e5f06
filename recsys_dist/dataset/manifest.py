"""manifest.json: counts, rules and shards of a prepared dataset, and all its files with their sha256."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import Field, JsonValue, model_validator

from recsys_dist.storage.folder import FileRecord
from recsys_dist.storage.holdings import OF_DATASET, OF_PREPARATION
from recsys_dist.strict_model import StrictModel

Side = Literal["users", "items"]


Split = Literal["train", "valid", "test"]


SIDES: tuple[Side, ...] = ("users", "items")


SPLITS: tuple[Split, ...] = ("train", "valid", "test")


MANIFEST = OF_DATASET


RATINGS = "ratings"


TICKS_RULE = "timestamp_ticks"
"""Rule: ticks per unit in which timestamps are stored, if some are not whole units."""


FEEDBACK_RULE, INTERACTIONS = "feedback", "interactions"
"""Rule: `interactions` if the rows of the input had no ratings; absent if they had."""


PREPARING, DATASET = OF_PREPARATION, "dataset"
"""During preparation, OUTPUT/preparing/KEY/dataset holds the files."""


class Shard(StrictModel):
    """A consecutive range of rows of one side, and its number of train ratings."""

    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    num_ratings: int = Field(ge=0)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start


class TrainSums(Protocol):
    """Sums over the train ratings of one shard."""

    @property
    def num_ratings(self) -> dict[str, int]: ...  # noqa: D102
    @property
    def train_sum(self) -> float: ...  # noqa: D102
    @property
    def train_min(self) -> float: ...  # noqa: D102
    @property
    def train_max(self) -> float: ...  # noqa: D102


class RatingStats(StrictModel):
    """The range to which predictions are clipped, and the mean of the train ratings."""

    min: float
    max: float
    mean: float

    @classmethod
    def of(cls, low: float | None, high: float | None, shards: Sequence[TrainSums]) -> RatingStats:
        """Merge all shards; `low` and `high` from the settings, if given, replace the observed range."""
        return cls(
            min=low if low is not None else min(shard.train_min for shard in shards),
            max=high if high is not None else max(shard.train_max for shard in shards),
            mean=sum(shard.train_sum for shard in shards) / sum(shard.num_ratings["train"] for shard in shards),
        )


class RowCounts(StrictModel):
    """Rows of the input files; always `kept + sum(rejected) = read`."""

    read: int = Field(ge=0)
    kept: int = Field(ge=0)
    rejected: dict[str, int]


class SplitInfo(StrictModel):
    """How the ratings were split, and a hash of the outcome that distinguishes splits."""

    rule: dict[str, JsonValue]
    fingerprint: str


class Ancestor(StrictModel):
    """An earlier version of this dataset; its users and items keep their indices."""

    digest: str
    num_users: int = Field(ge=1)
    num_items: int = Field(ge=1)
    num_held_out: int = Field(ge=0)
    """Number of its train ratings that have moved to validation or test."""


class Manifest(StrictModel):
    """The content of manifest.json."""

    format: Literal["recsys_dist.dataset"] = "recsys_dist.dataset"
    format_version: Literal[1] = 1
    num_users: int = Field(ge=1)
    num_items: int = Field(ge=1)
    num_ratings: dict[Split, int]
    rating: RatingStats
    rows: RowCounts
    split: SplitInfo
    rules: dict[str, JsonValue] | None = None
    """The settings that selected the ratings; appended ratings must follow them. None: unknown."""
    grown_from: tuple[Ancestor, ...] = ()
    """Earlier versions of this dataset, oldest first."""
    user_shards: tuple[Shard, ...]
    item_shards: tuple[Shard, ...]
    files: tuple[FileRecord, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> Manifest:
        _check_shards(self.user_shards, self.num_users, "user_shards")
        _check_shards(self.item_shards, self.num_items, "item_shards")
        if self.rows.kept + sum(self.rows.rejected.values()) != self.rows.read:
            raise ValueError("rows kept and rejected do not add up to the rows read")
        if sum(self.num_ratings.values()) != self.rows.kept:
            raise ValueError("the ratings of the splits do not add up to the rows kept")
        return self

    @property
    def timestamp_ticks(self) -> int:
        """Stored ticks per unit of the input; for dates and times the unit is a second."""
        ticks = (self.rules or {}).get(TICKS_RULE, 1)
        return ticks if isinstance(ticks, int) else 1

    @property
    def has_ratings(self) -> bool:
        """Whether rows had ratings; otherwise each is an interaction, and values count interactions."""
        return (self.rules or {}).get(FEEDBACK_RULE) != INTERACTIONS

    @property
    def holds_out_users(self) -> bool:
        """Whether the split holds out all ratings of some users, instead of ratings of users that have others."""
        return self.split.rule.get("kind") == "users"

    def to_bytes(self) -> bytes:
        """The manifest as written to disk; equal content gives equal bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def _check_shards(shards: Sequence[Shard], num_rows: int, name: str) -> None:
    starts = [shard.start for shard in shards]
    stops = [shard.stop for shard in shards]
    if not shards or starts != [0, *stops[:-1]] or stops[-1] != num_rows or sorted(stops) != stops:
        raise ValueError(f"{name} do not cover the rows 0 .. {num_rows} consecutively")
