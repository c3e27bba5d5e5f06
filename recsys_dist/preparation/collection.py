"""From runs to user shards: in one stage if the rules apply to each user alone, else in several.

runs --collect--> shards                                                       the default
runs --deduplicate--> rows --trim ...--> drop reasons                          with k-core filtering
                              --sort times, count times ...--> cutoffs         with a split by time
                              --split--> shards, balanced again by the remaining rows
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.settings.split import TimeSplit
from recsys_dist.preparation.shards.gathered import ShardInfo
from recsys_dist.preparation.shards.item_ids import all_item_ids
from recsys_dist.preparation.shards.k_core import find_core
from recsys_dist.preparation.shards.merging import DeduplicatedInfo
from recsys_dist.preparation.shards.runs import NUM_BUCKETS, RunInfo, cut_evenly
from recsys_dist.preparation.shards.splits import Cutoffs
from recsys_dist.preparation.shards.time_cutoffs import Times, find_cutoffs
from recsys_dist.preparation.shards.user_rows import Buckets, Source
from recsys_dist.preparation.tasks import tasks
from recsys_dist.preparation.tasks.journal import Journal

LEAST_SHARDS, USUAL_SHARDS = 4, 16
"""Shards per side, which limit the number of ranks; small shards cost more than they gain."""
LEAST_SHARD_RATINGS, MOST_SHARD_RATINGS = 250_000, 2_000_000
LARGEST_SHARD_RATINGS = 6_000_000
"""Bounds the memory of a worker of prepare, .4 GB with 2 million ratings and .8 GB with 6 million as measured, and
the tables of a shard's rows in training."""
RATINGS_OF_A_ROW = 30
"""Least ratings of a large shard for each row of the other side. Training adds the sums of each shard to those of
all these rows. Adding a row costs about as much as ten ratings, so that with shards of a fixed size this would
dominate as the catalogue grows."""
Span = tuple[int, int]
"""A range (start, stop) of buckets."""


@dataclass(frozen=True)
class Collected:
    """The user shards, with rejected rows, remaining items and time cutoffs."""

    shards: list[ShardInfo]
    rejected: Counter[str]
    rejects: list[str]
    """Scratch files of the rows rejected meanwhile."""
    is_kept: NDArray[np.bool_] | None = None
    """Whether k-core filtering keeps each `item_code`; None: all are kept."""
    cutoffs: Cutoffs | None = None


@dataclass(frozen=True)
class Collection:
    """The stages that build the user shards."""

    config: PrepareConfig
    journal: Journal
    scratch: Scratch
    ticks: int = 1
    """Ticks per unit of the timestamps."""

    def run(self, infos: Sequence[RunInfo]) -> Collected:
        """Build user shards from all runs. Raises `DataError` if no train rating remains."""
        spans = self._cut([Buckets(info.buckets, info.bucket_rows) for info in infos])
        is_alone = not self.config.drops_rare and self.config.split.kind != "time"
        collected = self._at_once(spans) if is_alone else self._in_steps(spans)
        if not sum(shard.num_ratings["train"] for shard in collected.shards):
            raise DataError("the split leaves no ratings to train on; lower split.test and split.valid")
        return collected

    def _at_once(self, spans: list[Span]) -> Collected:
        calls = [(number, span, self.config) for number, span in enumerate(spans)]
        shards = self._run("collect users", tasks.collect, calls, _num_ratings)
        return Collected(shards, _rejected(shards), _reject_files("shard", shards))

    def _in_steps(self, spans: list[Span]) -> Collected:
        names = [f"settled-{number}" for number in range(len(spans))]
        calls = [(name, span, self.config) for name, span in zip(names, spans, strict=True)]
        settled: list[DeduplicatedInfo] = self._run("deduplicate users", tasks.settle, calls, _num_settled)
        sources, buckets, is_kept = [Source(name) for name in names], [info.buckets for info in settled], None
        if self.config.drops_rare:
            num_items = len(all_item_ids(self.scratch))
            core = find_core(self.scratch, names, num_items, self.config.ratings, self._trim)
            sources, buckets, is_kept = core.sources, core.buckets, core.is_kept
        cutoffs = self._find_cutoffs(sources)
        shards = self._split(spans, sources, self._cut(buckets, is_kept), cutoffs)
        return Collected(
            shards,
            _rejected([*settled, *shards]),
            _reject_files("settled", settled) + _reject_files("shard", shards),
            is_kept,
            cutoffs,
        )

    def _trim(self, calls: Sequence[tuple[Any, ...]], shards: Sequence[int]) -> list[Buckets]:
        return self._run("filter k-core", tasks.trim, calls, shards=shards)

    def _find_cutoffs(self, sources: list[Source]) -> Cutoffs | None:
        rule = self.config.split
        if rule.kind != "time":
            return None
        return find_time_cutoffs(rule, sources, self.journal, self.scratch, self.ticks)

    def _split(
        self, old_spans: list[Span], sources: list[Source], new_spans: list[Span], cutoffs: Cutoffs | None
    ) -> list[ShardInfo]:
        calls = []
        for number, span in enumerate(new_spans):
            own = [source for source, old in zip(sources, old_spans, strict=True) if _overlap(old, span)]
            calls.append((number, span, own, cutoffs, self.config))
        return self._run("split users", tasks.split, calls, _num_ratings)

    def _cut(self, parts: Sequence[Buckets], is_kept: NDArray[np.bool_] | None = None) -> list[Span]:
        """Hash ranges of the shards, balanced by rows; together they cover all hashes."""
        num_shards = self.config.shards.users
        if num_shards is None:
            num_items = len(all_item_ids(self.scratch)) if is_kept is None else int(is_kept.sum())
            num_shards = default_shards(sum(int(part.num_rows.sum()) for part in parts), num_items)
        return cut_buckets(parts, num_shards)

    def _run(
        self,
        stage: str,
        task: Any,
        calls: Sequence[tuple[Any, ...]],
        num_rows: Callable[[Any], int] = lambda _result: 0,
        shards: Sequence[int] | None = None,
    ) -> list[Any]:
        subjects = [f"user shard {number}" for number in (range(len(calls)) if shards is None else shards)]
        placed = [(self.scratch.folder.url, *call) for call in calls]
        return self.journal.run(stage, task, placed, subjects, num_rows)


def cut_buckets(parts: Sequence[Buckets], num_shards: int) -> list[Span]:
    """Hash ranges with about equal numbers of rows; together they cover all hashes."""
    bucket_rows = np.zeros(NUM_BUCKETS, np.int64)
    for part in parts:
        bucket_rows[part.number] += part.num_rows
    used = np.flatnonzero(bucket_rows)
    cuts = cut_evenly(bucket_rows[used], num_shards)
    edges = [0, *(int(used[cut]) for cut in cuts[1:-1]), NUM_BUCKETS]
    return list(itertools.pairwise(edges))


def find_time_cutoffs(
    rule: TimeSplit, sources: Sequence[Source], journal: Journal, scratch: Scratch, ticks: int
) -> Cutoffs:
    """Cutoffs of a split by time over the deduplicated rows of all shards; timestamps have `ticks` per unit."""
    names = [f"times-{number}" for number in range(len(sources))]
    subjects = [f"user shard {number}" for number in range(len(sources))]
    url = scratch.folder.url
    calls = [(url, source, name) for source, name in zip(sources, names, strict=True)]
    spans = [span for span in journal.run("sort times", tasks.sort_times, calls, subjects) if span.count]

    def count_later(timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
        counts = [(url, name, timestamps) for name in names]
        total: NDArray[np.int64] = np.sum(journal.run("count times", tasks.count_later, counts, subjects), axis=0)
        return total

    first, last = min(span.first for span in spans), max(span.last for span in spans)
    return find_cutoffs(rule, Times(sum(span.count for span in spans), first, last, count_later), ticks)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _num_ratings(shard: ShardInfo) -> int:
    return sum(shard.num_ratings.values())


def _num_settled(info: DeduplicatedInfo) -> int:
    return int(info.buckets.num_rows.sum())


def _rejected(infos: Sequence[DeduplicatedInfo | ShardInfo]) -> Counter[str]:
    return sum((info.rejected for info in infos), Counter[str]())


def _reject_files(kind: str, infos: Sequence[DeduplicatedInfo | ShardInfo]) -> list[str]:
    return [f"{kind}-{number}.rejects" for number, info in enumerate(infos) if info.rejected]


def default_shards(num_ratings: int, num_others: int) -> int:
    """The number of shards of a side if none is configured; the other side has `num_others` rows."""
    usual = min(max(LEAST_SHARDS, num_ratings // LEAST_SHARD_RATINGS), USUAL_SHARDS)
    most = min(max(MOST_SHARD_RATINGS, RATINGS_OF_A_ROW * num_others), LARGEST_SHARD_RATINGS)
    return max(usual, -(-num_ratings // most))
