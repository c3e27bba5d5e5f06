import itertools

import pytest

from recsys_dist.dataset.manifest import Shard
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.shares import batches_of, column_ranges

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


@pytest.mark.parametrize(
    ("orientation", "num_rows", "num_ratings", "expected"),
    [
        ("items", 3_706, 900_189, 15),  # 256 rows
        ("items", 45_000, 24_515_316, 176),  # 256 rows
        ("users", 270_000, 24_515_316, 264),  # 1,024 rows
        ("items", 232_578, 24_515_316, 749),  # 32,768 ratings, where 256 rows have 27,000
        ("items", 232_578, 877_343, 48),  # few ratings
        ("items", 10_506, 85_049, 42),  # 256 rows
        ("users", 943, 80_000, 1),  # few rows
        ("items", 1, 500, 1),
    ],
)
def test_batches_have_the_usual_rows_unless_these_have_few_ratings(orientation, num_rows, num_ratings, expected):
    assert batches_of(num_rows, num_ratings, AutorecSettings(orientation=orientation)) == expected


def test_batches_have_the_given_ratings_and_at_least_a_row():
    assert batches_of(1_000, 90_000, AutorecSettings(batch_ratings=20_000)) == 5
    assert batches_of(7, 90_000, AutorecSettings(batch_ratings=1)) == 7
    assert batches_of(7, 90_000, AutorecSettings(batch_ratings=10**9)) == 1
