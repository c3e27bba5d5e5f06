"""Users and items with few ratings left out, with all of them, until all that stay have enough of what stays.

In rounds over the shards of settled rows. In each, first the users with too few ratings lose the rest of them,
then, when all shards are counted, the items. What stays, the largest set in which all have enough, depends on no
order, and the reasons on the rounds alone, whatever the shards.

    core-N-R     shard N after round R: the drop reason of each row
    left-N-R     the items that are left in it, and how many ratings of each
    dropped-R    whether each item is left out after round R

A shard in which none of the items stands that were left out last would be the same after the next round, and sits
it out.
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
"""Runs `trim` with the arguments that follow the scratch folder, for so many shards."""


def trim(scratch: Scratch, source: Source, target: str, dropped: str | None, min_user: int) -> Buckets:
    """One round of one shard: from the drop reasons that `source` names, if any, to those of `target`.

    `target` names the shard and the round, `dropped` the items that were left out after the round before.
    Returns where rows are left.
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
    """What is left in the end."""

    sources: list[Source]
    """Of each shard the settled rows with their drop reasons."""
    buckets: list[Buckets]
    is_kept: NDArray[np.bool_]
    """Whether each `item_code` is left."""


def find_core(scratch: Scratch, names: Sequence[str], num_items: int, rules: RatingRules, run: RunTrims) -> Core:
    """Leave out what has too few ratings, in the files `names` of settled rows.

    Holds counts by item only. Raises `DataError` where nothing is left.
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
            f"no rating is left: ratings.min_user_ratings {rules.min_user_ratings} with "
            f"ratings.min_item_ratings {rules.min_item_ratings} is more than these have; lower them"
        )
    return Core(sources, [buckets[shard] for shard in range(len(names))], num_left > 0)


def _recount(scratch: Scratch, num_left: NDArray[np.int64], old: str | None, new: str) -> None:
    """Put the counts of a shard's new round in the place of those of its old one, and remove the old drop reasons.

    The old counts stay: a preparation that goes on after a break counts all rounds again.
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
