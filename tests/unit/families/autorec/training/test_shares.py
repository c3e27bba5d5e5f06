import itertools

import pytest

from recsys_dist.dataset.manifest import Shard
from recsys_dist.families.autorec.training.shares import column_ranges

# As many ratings in each, but ever more columns.
SHARDS = [
    Shard(start=start, stop=stop, num_ratings=100_000)
    for start, stop in itertools.pairwise([0, 10, 110, 1110, 21_110])
]


@pytest.mark.parametrize("world_size", [1, 2, 4, 7])
def test_ranges_cover_all_columns_in_order(world_size: int) -> None:
    ranges = column_ranges(SHARDS, world_size, steps=100)

    assert len(ranges) == world_size
    assert (ranges[0][0], ranges[-1][1]) == (0, 21_110)
    assert all(before[1] == after[0] <= after[1] for before, after in itertools.pairwise(ranges))


def test_with_many_steps_ranks_hold_about_as_many_columns_and_with_few_as_many_ratings() -> None:
    (_, many), _ = column_ranges(SHARDS, 2, steps=10_000)
    (_, few), _ = column_ranges(SHARDS, 2, steps=0)

    assert many == pytest.approx(21_110 / 2, rel=0.01)
    assert few == 110


def test_more_ranks_than_columns_leave_some_without() -> None:
    sizes = [stop - start for start, stop in column_ranges([Shard(start=0, stop=3, num_ratings=9)], 8, steps=5)]

    assert sum(sizes) == 3
    assert min(sizes) == 0
