"""k-core filtering: drops users and items with too few ratings, repeatedly, until all others have enough.

Each round goes over the shards of deduplicated rows. It drops users with too few ratings in each shard and then,
from the counts of all shards, items. The result, the largest set in which all have enough, does not depend on the
order; drop reasons depend only on the rounds, not on the shards.

    core-N-R     shard N after round R: the drop reason of each row
    left-N-R     the remaining items of the shard, and their numbers of ratings
    dropped-R    whether each item is dropped after round R

A round skips shards that contain no item dropped in the round before, as they would not change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.prepare import RatingRules
from recsys_dist.preparation.shards.user_rows import KEPT, Buckets, Source, count_buckets, row_users

RunTrims = Callable[[Sequence[tuple[Any, ...]], Sequence[int]], list[Buckets]]
"""Runs `trim` for the given shards, with the arguments after `scratch`."""


def trim(scratch: Scratch, source: Source, target: str, dropped: str | None, min_user: int) -> Buckets:
    """Run one round on one shard: from the drop reasons of `source`, if any, to those of `target`.

    `target` names shard and round, `dropped` is the file of items dropped after the previous round. Returns the
    buckets of the remaining rows.
    """
    arrays = scratch.load(source.name)
    user, item = row_users(arrays), arrays["row.item"]
    drop_reason = (
        np.full(len(item), KEPT, np.int8)
        if source.drop_reasons is None
        else scratch.load(source.drop_reasons)["drop_reason"].copy()
    )
    if dropped is not None:
        is_dropped = scratch.load(dropped)["is_dropped"].view(bool)
        drop_reason[(drop_reason == KEPT) & is_dropped[item]] = Reason.FEW_OF_ITEM
    num_left = np.bincount(user[drop_reason == KEPT], minlength=len(arrays["user.hash"]))
    drop_reason[(drop_reason == KEPT) & (num_left < min_user)[user]] = Reason.FEW_OF_USER
    num_left[num_left < min_user] = 0
    count = np.bincount(item[drop_reason == KEPT])
    left = np.flatnonzero(count)
    scratch.save(_drop_reasons(target), {"drop_reason": drop_reason})
    scratch.save(_left(target), {"item": left, "count": count[left]})
    return count_buckets(arrays["user.hash"], num_left)


@dataclass(frozen=True)
class Core:
    """The users and items that remain."""

    sources: list[Source]
    """Deduplicated rows of each shard, with their drop reasons."""
    buckets: list[Buckets]
    is_kept: NDArray[np.bool_]
    """Whether each `item_code` remains."""


def find_core(scratch: Scratch, names: Sequence[str], num_items: int, rules: RatingRules, run: RunTrims) -> Core:
    """Filter the files `names` of deduplicated rows.

    Only counts by item are held in memory. Raises `DataError` if no rating remains.
    """
    sources, num_left = [Source(name) for name in names], np.zeros(num_items, np.int64)
    buckets: dict[int, Buckets] = {}
    left: dict[int, str] = {}
    touched, dropped, number = list(range(len(names))), None, 0
    while touched:
        targets = [f"{shard}-{number}" for shard in touched]
        calls = [
            (sources[shard], target, dropped, rules.min_user_ratings)
            for shard, target in zip(touched, targets, strict=True)
        ]
        buckets.update(zip(touched, run(calls, touched), strict=True))
        for shard, target in zip(touched, targets, strict=True):
            _recount(scratch, num_left, left.get(shard), target)
            sources[shard], left[shard] = Source(names[shard], _drop_reasons(target)), target
        is_dropped = (num_left > 0) & (num_left < rules.min_item_ratings)
        dropped, number = f"dropped-{number}", number + 1
        scratch.save(dropped, {"is_dropped": is_dropped.view(np.uint8)})
        touched = [shard for shard in range(len(names)) if _holds_any(scratch, left[shard], is_dropped)]
    if not num_left.any():
        raise DataError(
            f"no rating remains with ratings.min_user_ratings {rules.min_user_ratings} and "
            f"ratings.min_item_ratings {rules.min_item_ratings}; lower them"
        )
    return Core(sources, [buckets[shard] for shard in range(len(names))], num_left > 0)


def _recount(scratch: Scratch, num_left: NDArray[np.int64], old: str | None, new: str) -> None:
    """Replace a shard's counts by those of the new round, and remove the old drop reasons.

    The old counts stay on scratch: a resumed preparation counts all rounds again.
    """
    if old is not None:
        arrays = scratch.load(_left(old))
        num_left[arrays["item"]] -= arrays["count"]
        scratch.remove(_drop_reasons(old))
    arrays = scratch.load(_left(new))
    num_left[arrays["item"]] += arrays["count"]


def _holds_any(scratch: Scratch, left: str, is_dropped: NDArray[np.bool_]) -> bool:
    return bool(is_dropped[scratch.load(_left(left))["item"]].any())


def _drop_reasons(target: str) -> str:
    return f"core-{target}"


def _left(target: str) -> str:
    return f"left-{target}"
