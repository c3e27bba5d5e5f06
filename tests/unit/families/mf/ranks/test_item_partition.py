import itertools

import pytest

from recsys_dist.families.mf.ranks.item_partition import ItemPartition

ROWS_AT_ONCE, ROW_BYTES = 7248, 800


def partition(num_items: int, world_size: int, memory_limit: int | None = None) -> ItemPartition:
    return ItemPartition.of(num_items, ROWS_AT_ONCE, ROW_BYTES, world_size, memory_limit)


@pytest.mark.parametrize("num_items", [1, 3, 50, 1667, 3706, 45_000, 300_000])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_blocks_and_owners_cover_all_items_and_blocks_do_not_depend_on_ranks(
    num_items: int, world_size: int
) -> None:
    of_ranks = partition(num_items, world_size)

    assert of_ranks.solve_blocks == partition(num_items, 1).solve_blocks
    for ranges in (of_ranks.solve_blocks, of_ranks.owners, of_ranks.travel_blocks):
        assert [first for first, _ in ranges][1:] == [last for _, last in ranges][:-1]
        assert (ranges[0][0], ranges[-1][1]) == (0, num_items)
    edges = {0, *itertools.chain(*of_ranks.solve_blocks)}
    assert edges.issuperset(itertools.chain(*of_ranks.owners))


def test_four_ranks_share_a_short_list_and_no_block_is_cut_finer_than_pays() -> None:
    assert [last - first for first, last in partition(50, 4).owners] == [13, 13, 13, 11]
    assert min(last - first for first, last in partition(3706, 1).solve_blocks) > 512
