"""The collectives between real ranks: what they compute, and what they say when something is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.distributed.collectives import Collectives, open_collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError, TrainingError
from tests.support.ranks import run_ranks

ROW_RANGES = [(0, 3), (3, 3), (3, 7)]  # the second rank owns nothing
TABLE = torch.arange(14.0).reshape(7, 2)


def move_rows(collectives: Collectives) -> tuple[Any, Any, Any]:
    rank = collectives.world.rank
    start, stop = ROW_RANGES[rank]
    gathered = collectives.gather_rows(TABLE[start:stop].clone(), ROW_RANGES)
    scattered = collectives.sum_scatter_rows(TABLE * (rank + 1), ROW_RANGES)
    total = collectives.sum_(torch.tensor([rank + 1, 10], dtype=torch.int64))
    return gathered.tolist(), scattered.tolist(), total.tolist()


def test_rows_go_to_their_owners_and_back_with_one_rank_that_owns_none(tmp_path: Path) -> None:
    for (start, stop), (gathered, scattered, total) in zip(
        ROW_RANGES, run_ranks(move_rows, 3, tmp_path), strict=True
    ):
        assert gathered == TABLE.tolist()
        assert scattered == (TABLE[start:stop] * 6).tolist()
        assert total == [6, 30]


def gather_shares(collectives: Collectives, ranges: list[tuple[int, int]]) -> list[list[float]]:
    start, stop = ranges[collectives.world.rank]
    return collectives.gather_rows(TALL[start:stop].clone(), ranges).tolist()


TALL = torch.arange(46.0).reshape(23, 2)


@pytest.mark.parametrize("cuts", [[0, 12, 23], [0, 20, 23], [0, 8, 16, 23], [0, 7, 14, 23]])
def test_rows_come_together_whatever_the_shares(tmp_path: Path, cuts: list[int]) -> None:
    ranges = list(itertools.pairwise(cuts))
    assert run_ranks(gather_shares, len(ranges), tmp_path, ranges) == [TALL.tolist()] * len(ranges)


def blocks() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    magnitudes = 10.0 ** torch.arange(-8, 9, dtype=torch.float32)
    return torch.randn(17, 5, generator=generator) * magnitudes[:, None]


def sum_my_blocks(collectives: Collectives, cuts: list[int], knows_counts: bool) -> list[float]:
    rank, counts = collectives.world.rank, np.diff(cuts).tolist()
    own = blocks()[cuts[rank] : cuts[rank + 1]]
    return collectives.sum_blocks(own, counts if knows_counts else None).tolist()


@pytest.mark.parametrize("knows_counts", [False, True])
def test_a_sum_of_blocks_has_the_same_bits_however_the_blocks_are_spread(
    tmp_path: Path, knows_counts: bool
) -> None:
    alone = sum_my_blocks(Collectives(World.single()), [0, 17], knows_counts)

    for cuts in ([0, 6, 17], [0, 0, 9, 17]):
        sums = run_ranks(sum_my_blocks, len(cuts) - 1, tmp_path, cuts, knows_counts)
        assert sums == [alone] * (len(cuts) - 1)


def exchange_words(collectives: Collectives) -> tuple[list[Any], bool, bool]:
    rank = collectives.world.rank
    words = collectives.gather_json({"rank": rank, "text": "ä" * rank, "none": None})
    return words, collectives.any_rank(rank == 1), collectives.any_rank(False)


def test_values_and_flags_reach_every_rank(tmp_path: Path) -> None:
    words = [{"rank": rank, "text": "ä" * rank, "none": None} for rank in range(2)]

    assert run_ranks(exchange_words, 2, tmp_path) == [(words, True, False)] * 2


def fail_to_save(collectives: Collectives) -> None:
    def save() -> None:
        if collectives.world.rank == 1:
            raise OSError(28, "No space left on device")

    collectives.together("saving", save)


def differ(collectives: Collectives) -> None:
    rank = collectives.world.rank
    collectives.require_same({"version": "1.0", "same": "x"} | ({"only": "y"} if rank else {}))


def sum_unequal_shapes(collectives: Collectives) -> None:
    collectives.sum_(torch.zeros(2 + collectives.world.rank))


def complaint(collectives: Collectives, work: Callable[[Collectives], None]) -> str:
    with pytest.raises(TrainingError) as caught:
        work(collectives)
    return str(caught.value)


def test_a_failure_on_one_rank_is_raised_on_all_and_named(tmp_path: Path) -> None:
    first, second = run_ranks(complaint, 2, tmp_path, fail_to_save)

    assert first == second == "saving failed: rank 1: No space left on device"


def test_ranks_that_differ_are_told_apart(tmp_path: Path) -> None:
    first, second = run_ranks(complaint, 2, tmp_path, differ)

    assert first == second
    assert "the ranks differ in only: rank 0 has None, rank 1 has y" in first


def test_a_mismatch_of_shapes_is_an_error_that_names_rank_and_collective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_DISTRIBUTED_DEBUG", "DETAIL")

    complaints = run_ranks(complaint, 2, tmp_path, sum_unequal_shapes)

    for rank, text in enumerate(complaints):
        assert text.startswith(f"rank {rank} of 2: all_reduce failed: ")


def test_a_rank_whose_peers_never_come_says_so(tmp_path: Path) -> None:
    world = World(rank=0, size=2, device=torch.device("cpu"))
    meeting = (tmp_path / "store").as_uri()

    with (
        pytest.raises(TrainingError, match="rank 0 of 2 could not reach the others within 1 s"),
        open_collectives(world, timeout_s=1, init_method=meeting),
    ):
        pass


def test_a_single_process_joins_nothing_and_keeps_errors_as_they_are() -> None:
    with open_collectives(World.single()) as collectives:
        assert collectives.gather_rows(TABLE, [(0, 7)]) is TABLE
        assert collectives.gather_json({"a": 1}) == [{"a": 1}]
        with pytest.raises(ConfigError, match="as it was"):
            collectives.together("reading", lambda: _raise(ConfigError("as it was")))
        with pytest.raises(TrainingError, match="reading failed: no such thing"):
            collectives.together("reading", lambda: _raise(OSError("no such thing")))
    assert not torch.distributed.is_initialized()


def _raise(error: Exception) -> None:
    raise error


def received_by_each(collectives: Collectives) -> dict[str, tuple[int, int]]:
    """Bytes received of tables and in all, by what was called."""
    rank, size = collectives.world.rank, collectives.world.size
    ranges = [(8 * number, 8 * number + 8) for number in range(size)]
    calls = {
        "sum_": lambda: collectives.sum_(torch.ones(300)),
        "sum_table": lambda: collectives.sum_table(torch.ones(300)),
        "any_rank": lambda: collectives.any_rank(False),
        "gather_rows": lambda: collectives.gather_rows(torch.ones(8, 5), ranges),
        "sum_scatter_rows": lambda: collectives.sum_scatter_rows(torch.ones(8 * size, 5), ranges),
        "sum_blocks": lambda: collectives.sum_blocks(torch.ones(1, 7)),
        "sum_blocks of known counts": lambda: collectives.sum_blocks(torch.ones(1, 7), [1] * size),
        "gather_json": lambda: collectives.gather_json("x" * (3 + rank)),
    }
    counts = {}
    for name, call in calls.items():
        before = collectives.received_bytes, collectives.received_in_all_bytes
        call()
        counts[name] = (collectives.received_bytes - before[0], collectives.received_in_all_bytes - before[1])
    return counts


def test_every_collective_counts_what_it_brings(tmp_path: Path) -> None:
    for rank, counts in enumerate(run_ranks(received_by_each, 3, tmp_path)):
        # A ring brings 2 (w - 1) / w of what is summed; the counts of rows are three int64, summed.
        sum_bytes, row_counts = 4 * 300 * 4 // 3, 4 * (3 * 8) // 3
        texts = sum(3 + number + 2 for number in range(3) if number != rank)
        assert counts == {
            "sum_": (0, sum_bytes),
            "sum_table": (sum_bytes, sum_bytes),
            "any_rank": (0, 4 * 8 // 3),
            "gather_rows": (2 * 8 * 5 * 4, 2 * 8 * 5 * 4),
            "sum_scatter_rows": (2 * 8 * 5 * 4, 2 * 8 * 5 * 4),
            "sum_blocks": (0, row_counts + 2 * 7 * 8),
            "sum_blocks of known counts": (0, 2 * 7 * 8),
            "gather_json": (0, row_counts + texts),
        }
