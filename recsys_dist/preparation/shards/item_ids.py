"""Merges the item ids of all runs, numbers them, and finally ranks them by popularity.

Intermediate stages use the `item_code`, the position among all ids sorted by UTF-8 bytes. The dataset's
`item_index` is the position by decreasing number of train ratings, ties by id.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.preparation.arrays.scratch import Scratch, join_texts, narrow, pack_texts, unpack_texts

MERGE_FAN_IN = 16
ITEM_IDS = "items.ids"


def merge_items(scratch: Scratch, sources: Sequence[str], target: str) -> int:
    """Merge the item ids of several files into one sorted file without duplicates; return their number."""
    parts = [unpack_texts("item", scratch.load(source)) for source in sources]
    ids = pc.unique(join_texts(parts))
    ids = ids.take(pc.array_sort_indices(ids))
    scratch.save(target, pack_texts("item", ids))
    return len(ids)


def merge_levels(runs: Sequence[str], whole: str) -> list[list[tuple[list[str], str]]]:
    """A merge tree over the runs: levels of (sources, target); the last level has the one target `whole`."""
    names = list(runs)
    levels: list[list[tuple[list[str], str]]] = []
    while not levels or len(names) > 1:
        groups = [names[start : start + MERGE_FAN_IN] for start in range(0, len(names), MERGE_FAN_IN)]
        targets = [f"items-{len(levels)}-{number}" for number in range(len(groups))]
        if len(groups) == 1:
            targets = [whole]
        levels.append(list(zip(groups, targets, strict=True)))
        names = targets
    return levels


def translate_items(scratch: Scratch, runs: Sequence[str]) -> None:
    """Write the `item_code` of each item in the dictionaries of some runs."""
    own_ids = [unpack_texts("item", scratch.load(f"{run}.run")) for run in runs]
    # Each call hashes all ids, so one call for all runs is cheaper.
    codes = pc.index_in(join_texts(own_ids), value_set=all_item_ids(scratch))
    assert codes.null_count == 0, "the merged items include those of every run"
    stops = np.cumsum([len(ids) for ids in own_ids])
    for run, item_code in zip(runs, np.split(codes.to_numpy(), stops[:-1]), strict=True):
        scratch.save(f"{run}.items", {"item_code": narrow(item_code)})


def rank_items(
    num_train: NDArray[np.int64], is_kept: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From the number of train ratings of each `item_code`: codes in order of `item_index`, and each code's index.

    Codes that are not kept are missing from the first array and have the index -1.
    """
    by_popularity = np.argsort(-num_train, kind="stable")
    if is_kept is not None:
        by_popularity = by_popularity[is_kept[by_popularity]]
    item_index = np.full(len(num_train), -1)
    item_index[by_popularity] = np.arange(len(by_popularity))
    return by_popularity, item_index


def all_item_ids(scratch: Scratch) -> pa.LargeStringArray:
    """All item ids; position = item_code."""
    return unpack_texts("item", scratch.load(ITEM_IDS))
