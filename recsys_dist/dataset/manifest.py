"""manifest.json: what a prepared dataset is, and every file of it with its sha256."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import Field, JsonValue, model_validator

from recsys_dist.storage.folder import FileRecord
from recsys_dist.strict_model import StrictModel

Side = Literal["users", "items"]


Split = Literal["train", "valid", "test"]


SIDES: tuple[Side, ...] = ("users", "items")


SPLITS: tuple[Split, ...] = ("train", "valid", "test")


MANIFEST = "manifest.json"


RATINGS = "ratings"


TICKS_RULE = "timestamp_ticks"
"""Of the rules: in which parts of a unit timestamps are kept, where some are not whole units."""


PREPARING, DATASET = "preparing", "dataset"
"""While a dataset is prepared, DATASET/preparing/KEY/dataset holds its files."""


class Shard(StrictModel):
    """A consecutive range of rows of one side, and the train ratings in it."""

    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    num_ratings: int = Field(ge=0)

    @property
    def num_rows(self) -> int:
        """Rows in the range."""
        return self.stop - self.start


class TrainSums(Protocol):
    """What is known of the train ratings of one shard."""

    @property
    def num_ratings(self) -> dict[str, int]: ...  # noqa: D102
    @property
    def train_sum(self) -> float: ...  # noqa: D102
    @property
    def train_min(self) -> float: ...  # noqa: D102
    @property
    def train_max(self) -> float: ...  # noqa: D102


class RatingStats(StrictModel):
    """The range that predictions are clipped to, and the mean of the train ratings."""

    min: float
    max: float
    mean: float

    @classmethod
    def of(cls, low: float | None, high: float | None, shards: Sequence[TrainSums]) -> RatingStats:
        """From the limits of the settings, where there are any, and the train ratings of all shards."""
        return cls(
            min=low if low is not None else min(shard.train_min for shard in shards),
            max=high if high is not None else max(shard.train_max for shard in shards),
            mean=sum(shard.train_sum for shard in shards) / sum(shard.num_ratings["train"] for shard in shards),
        )


class RowCounts(StrictModel):
    """Rows of the input files: `kept + sum(rejected) = read`, always."""

    read: int = Field(ge=0)
    kept: int = Field(ge=0)
    rejected: dict[str, int]


class SplitInfo(StrictModel):
    """How the ratings were split, and a hash of the outcome to tell two splits apart."""

    rule: dict[str, JsonValue]
    fingerprint: str


class Ancestor(StrictModel):
    """An earlier dataset that this one has grown from: its users and items have the same indices here."""

    digest: str
    num_users: int = Field(ge=1)
    num_items: int = Field(ge=1)
    num_held_out: int = Field(ge=0)
    """Its train ratings that are for validation or testing now."""


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
    """The settings that decided which ratings count, which what is added later has to follow; None: unknown."""
    grown_from: tuple[Ancestor, ...] = ()
    """The datasets that this one has grown from, the first one first."""
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
        """How many of a timestamp make a unit of the input, which for dates and times is a second."""
        ticks = (self.rules or {}).get(TICKS_RULE, 1)
        return ticks if isinstance(ticks, int) else 1

    def to_bytes(self) -> bytes:
        """The manifest as it stands on disk; the same content gives the same bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def _check_shards(shards: Sequence[Shard], num_rows: int, name: str) -> None:
    starts = [shard.start for shard in shards]
    stops = [shard.stop for shard in shards]
    if not shards or starts != [0, *stops[:-1]] or stops[-1] != num_rows or sorted(stops) != stops:
        raise ValueError(f"{name} do not cover the rows 0 .. {num_rows} one after the other")
