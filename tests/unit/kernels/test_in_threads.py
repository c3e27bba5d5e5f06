"""Blocks of work in threads: results in order, few at a time, and nothing left behind."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
import torch

from recsys_dist.kernels.in_threads import in_threads


def test_results_come_in_the_order_of_the_blocks_from_threads_of_one_core():
    before = torch.get_num_threads()

    results = list(in_threads(lambda block: (block, torch.get_num_threads()), range(20), 3))

    assert results == [(block, 1) for block in range(20)]
    assert torch.get_num_threads() == before


def test_few_blocks_are_taken_ahead():
    taken, before = [], threading.active_count()

    def blocks():
        for block in range(100):
            taken.append(block)
            yield block

    with closing(in_threads(lambda block: block, blocks(), 2)) as results:
        for result in results:
            assert len(taken) <= result + 3
            if result == 10:
                break
    assert len(taken) < 20
    assert threading.active_count() == before


def test_an_error_of_a_block_is_raised():
    def fails_at(block):
        if block == 4:
            raise ValueError("block 4")
        return block

    done: list[int] = []
    before = threading.active_count()
    with pytest.raises(ValueError, match="block 4"):
        done.extend(in_threads(fails_at, range(100), 2))
    assert threading.active_count() == before
