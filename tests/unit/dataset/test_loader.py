"""Batches as a pure function of (shards, ranks, steps): nothing seen twice or missed, whoever shares them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.loader import (
    RowLoader,
    held_out_blocks,
    row_chunks,
    shard_order,
    step_slice,
    take_rows,
)
from recsys_dist.dataset.manifest import Shard, Side
from recsys_dist.dataset.sharding import share_shards
from tests.support.prepared import small_dataset


def make_shards(rows: list[int]) -> list[Shard]:
    edges = [0, *itertools.accumulate(rows)]
    return [Shard(start=a, stop=b, num_ratings=3 * (b - a)) for a, b in itertools.pairwise(edges)]


def rank_rows(shards: list[Shard], share: range, step: int, steps: int, epoch: int = 2) -> list[int]:
    """The rows that a rank with `share` sees in a step."""
    return [
        shards[shard].start + int(row)
        for shard in share
        for row in shard_order(shard, shards[shard].num_rows, 7, epoch)[step_slice(shards[shard], step, steps)]
    ]


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any),
    steps=st.integers(1, 200),
    world_size=st.integers(1, 5),
    resumed_size=st.integers(1, 5),
    data=st.data(),
)
def test_an_epoch_resumed_on_other_ranks_sees_each_row_once(rows, steps, world_size, resumed_size, data) -> None:
    shards = make_shards(rows)
    left_at = data.draw(st.integers(0, steps))
    seen: list[int] = []
    for step in range(steps):
        for share in share_shards(shards, world_size if step < left_at else resumed_size):
            seen += rank_rows(shards, share, step, steps)
    assert sorted(seen) == list(range(sum(rows)))


@pytest.mark.parametrize("rows", [[10] * 64, [1] * 300, [0, 7, 1000, 3], [640]])
@pytest.mark.parametrize("batch_size", [8, 100])
def test_batches_are_about_equally_large(rows: list[int], batch_size: int) -> None:
    shards = make_shards(rows)
    steps = -(-sum(rows) // batch_size)
    sizes = [len(rank_rows(shards, range(len(shards)), step, steps)) for step in range(steps)]
    assert max(sizes) <= 2 * batch_size
    assert min(sizes) >= min(batch_size, sum(rows)) / 2 - 1


def test_epochs_and_shards_are_shuffled_apart() -> None:
    orders = {tuple(shard_order(shard, 50, 0, epoch)) for shard in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert tuple(shard_order(1, 50, 3, 2)) == tuple(shard_order(1, 50, 3, 2))


def test_taken_rows_hold_the_entries_of_their_rows(tmp_path: Path) -> None:
    block = small_dataset(tmp_path / "data").block("users", 2)
    rows = np.array([0, 3, block.num_rows - 1])
    taken = take_rows(block, rows)
    whole = sparse.csr_matrix((block.values, block.indices, block.indptr), shape=(block.num_rows, 60))
    got = sparse.csr_matrix((taken.values, taken.indices, taken.indptr), shape=(3, 60))
    assert (got != whole[rows]).nnz == 0
    assert taken.rows.tolist() == (rows + block.start).tolist()


@pytest.mark.parametrize("side", ["users", "items"])
def test_an_epoch_of_all_ranks_is_the_train_split(tmp_path: Path, side: Side) -> None:
    dataset = small_dataset(tmp_path / "data", num_shards=3)
    seen = []
    for share in share_shards(dataset.shards(side), 4):
        loader = RowLoader.of_rows(dataset, side, share, steps=5, seed=1)
        for step in range(5):
            batch = loader.batch(0, step)
            rows = np.repeat(batch.rows, np.diff(batch.indptr))
            seen += list(zip(rows.tolist(), batch.indices.tolist(), batch.values.tolist(), strict=True))
    train = [dataset.ratings("train", shard) for shard in range(3)]
    users = np.concatenate([part.user_index for part in train]).tolist()
    items = np.concatenate([part.item_index for part in train]).tolist()
    ratings = np.concatenate([part.rating for part in train]).tolist()
    rows, columns = (users, items) if side == "users" else (items, users)
    assert sorted(seen) == sorted(zip(rows, columns, ratings, strict=True))


@pytest.mark.parametrize("side", ["users", "items"])
def test_held_out_blocks_of_all_ranks_are_the_split(tmp_path: Path, side: Side) -> None:
    dataset = small_dataset(tmp_path / "data", num_shards=3)
    seen = []
    for share in share_shards(dataset.shards(side), 2):
        for block in held_out_blocks(dataset, "valid", side, share):
            rows = block.start + np.repeat(np.arange(block.num_rows), np.diff(block.indptr))
            seen += list(zip(rows.tolist(), block.indices.tolist(), block.values.tolist(), strict=True))
    valid = [dataset.ratings("valid", shard) for shard in range(3)]
    users = np.concatenate([part.user_index for part in valid]).tolist()
    items = np.concatenate([part.item_index for part in valid]).tolist()
    ratings = np.concatenate([part.rating for part in valid]).tolist()
    rows, columns = (users, items) if side == "users" else (items, users)
    assert sorted(seen) == sorted(zip(rows, columns, ratings, strict=True))


def test_chunks_cover_a_block_within_their_bounds(tmp_path: Path) -> None:
    block = small_dataset(tmp_path / "data", num_shards=1).block("items", 0)
    chunks = list(row_chunks(block, max_rows=7, max_ratings=100))
    assert [start for start, _ in chunks] == [0, *(stop for _, stop in chunks[:-1])]
    assert chunks[-1][1] == block.num_rows
    for start, stop in chunks:
        assert stop - start <= 7
        assert stop - start == 1 or block.indptr[stop] - block.indptr[start] <= 100
    assert any(stop - start > 1 for start, stop in chunks)


def test_the_columns_of_a_range_are_those_of_all_columns_wherever_it_begins(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data", num_shards=3)
    num_columns = dataset.num_rows("items")
    whole = RowLoader.of_columns(dataset, "users", (0, num_columns), 16, seed=0)

    for columns in ((0, 5), (3, num_columns - 1), (num_columns - 1, num_columns), (7, 7)):
        part = RowLoader.of_columns(dataset, "users", columns, 16, seed=0)
        for block, of_all in zip(part.blocks, whole.blocks, strict=True):
            dense = csr_of(of_all, num_columns)[:, slice(*columns)]
            assert (csr_of(block, columns[1] - columns[0]) != dense).nnz == 0


def csr_of(block: Block, num_columns: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((block.values, block.indices, block.indptr), shape=(block.num_rows, num_columns))
