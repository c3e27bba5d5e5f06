"""Assignment of shards to ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_dist.dataset.manifest import Shard


def share_shards(shards: Sequence[Shard], world_size: int, row_ratings: int = 1) -> list[range]:
    """Assign consecutive shards to ranks, balanced by ratings; pure, the same on every rank.

    A row counts as `row_ratings` ratings. Each cut falls on the shard boundary nearest to an equal share. With
    fewer shards than ranks, some ranks get none.
    """
    stops = np.cumsum([shard.num_ratings + row_ratings * shard.num_rows for shard in shards])
    targets = stops[-1] * np.arange(1, world_size) / world_size
    edges = np.concatenate([[0], stops])
    cuts = [int(np.abs(edges - target).argmin()) for target in targets]
    bounds = [0, *cuts, len(shards)]
    return [range(bounds[rank], bounds[rank + 1]) for rank in range(world_size)]


def row_ranges(shards: Sequence[Shard], shares: Sequence[range]) -> list[tuple[int, int]]:
    """The rows (start, stop) that each rank owns, from its share of the shards."""
    edges = [0, *(shard.stop for shard in shards)]
    return [(edges[share.start], edges[share.stop]) for share in shares]


def shards_across(shards: Sequence[Shard], start: int, stop: int) -> range:
    """The shards that overlap the rows start .. stop."""
    across = [number for number, shard in enumerate(shards) if shard.start < stop and start < shard.stop]
    return range(across[0], across[-1] + 1) if across else range(0)
