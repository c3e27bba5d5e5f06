"""Tables through memory that ranks share: the same bits as through sockets, which serve where it fails."""

from __future__ import annotations

import itertools
from pathlib import Path
from unittest import mock

import pytest
import torch

from recsys_dist.distributed import shared_memory
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.shared_memory import SharedMemory
from tests.support.ranks import run_ranks

FLOATS = 10
Answer = tuple[torch.Tensor, torch.Tensor]


def partials(rank: int, num_rows: int) -> torch.Tensor:
    """Numbers whose sum depends on the order of its terms."""
    generator = torch.Generator().manual_seed(rank)
    magnitudes = 10.0 ** torch.randint(-8, 9, (num_rows, 1), generator=generator)
    return torch.randn(num_rows, FLOATS, generator=generator, dtype=torch.float64) * magnitudes


def exchange(collectives: Collectives, ranges: list[tuple[int, int]]) -> Answer:
    rank = collectives.world.rank
    start, stop = ranges[rank]
    num_rows = ranges[-1][1]
    own = partials(99, num_rows)[start:stop].float()
    return collectives.gather_rows(own, ranges), collectives.sum_scatter_rows(partials(rank, num_rows), ranges)


def watched_exchange(collectives: Collectives, ranges: list[tuple[int, int]]) -> tuple[Answer, int]:
    """The exchange, and how many of its two tables went through memory."""
    with (
        mock.patch.object(SharedMemory, "gather", autospec=True, side_effect=SharedMemory.gather) as gather,
        mock.patch.object(
            SharedMemory, "sum_at_owners", autospec=True, side_effect=SharedMemory.sum_at_owners
        ) as add,
    ):
        answer = exchange(collectives, ranges)
    return answer, gather.call_count + add.call_count


def exchange_both_ways(collectives: Collectives, ranges: list[tuple[int, int]]) -> tuple[Answer, Answer]:
    """Through sockets, and through memory in pieces of a few rows."""
    through_sockets, num_shared = watched_exchange(collectives, ranges)
    assert num_shared == 0
    shared_memory.LEAST_BYTES = 1
    shared_memory.SLOT_BYTES = 1 << 14
    collectives.share_memory()
    (first, num_shared), second = watched_exchange(collectives, ranges), exchange(collectives, ranges)
    assert num_shared == 2
    assert all(map(torch.equal, first, second))
    assert first[0].data_ptr() != second[0].data_ptr()
    return through_sockets, second


@pytest.mark.parametrize(
    "cuts", [[0, 301, 601], [0, 599, 601], [0, 200, 200, 601], [0, 150, 300, 450, 601], [0, 0, 1, 2, 601]]
)
def test_memory_tells_the_same_bits_as_sockets(tmp_path: Path, cuts: list[int]) -> None:
    ranges = list(itertools.pairwise(cuts))
    for through_sockets, through_memory in run_ranks(exchange_both_ways, len(ranges), tmp_path, ranges):
        assert all(map(torch.equal, through_sockets, through_memory))
        assert torch.equal(through_memory[0], partials(99, cuts[-1]).float())


def reuse(collectives: Collectives) -> tuple[list[int], list[float]]:
    """Where four tables lie, of which the first rank lets go of the second late; the first as it is at the end."""
    rank = collectives.world.rank
    tables, places = [], []
    for number in range(4):
        own = torch.full((300_000,), float(2 * number + rank))
        tables.append(collectives.gather_rows(own, [(0, 300_000), (300_000, 600_000)]))
        places.append(tables[-1].data_ptr())
        if (number, rank) in {(1, 1), (2, 0)}:
            tables[1] = tables[0]
    return [places.index(place) for place in places], tables[0][[0, -1]].tolist()


def test_a_table_is_overwritten_once_no_rank_has_it_any_more(tmp_path: Path) -> None:
    assert run_ranks(reuse, 2, tmp_path) == [([0, 1, 2, 1], [0.0, 1.0])] * 2


def without_memory(collectives: Collectives, reason: str) -> bool:
    shared_memory.LEAST_BYTES = 1
    if reason == "no folder":
        shared_memory.FOLDER = Path("/nowhere/at/all")
    elif reason == "no room":
        shared_memory.SLOT_BYTES = 1 << 60
    elif collectives.world.rank == 1:
        shared_memory._mapped = lambda *_: None
    collectives.share_memory()
    (gathered, _), num_shared = watched_exchange(collectives, [(0, 10), (10, 40)])
    return num_shared == 0 and torch.equal(gathered, partials(99, 40).float())


@pytest.mark.parametrize("reason", ["no folder", "no room", "on another machine"])
def test_without_such_memory_sockets_do(tmp_path: Path, reason: str) -> None:
    assert run_ranks(without_memory, 2, tmp_path, reason) == [True, True]


def with_room_for_slots_alone(collectives: Collectives) -> bool:
    shared_memory.LEAST_BYTES = 1 << 11
    shared_memory._allocated = lambda *_: False
    gathered, _ = exchange(collectives, [(0, 10), (10, 400)])
    again, _ = exchange(collectives, [(0, 10), (10, 400)])
    return torch.equal(gathered, partials(99, 400).float()) and torch.equal(again, gathered)


def test_without_room_for_a_table_it_goes_through_sockets(tmp_path: Path) -> None:
    assert run_ranks(with_room_for_slots_alone, 2, tmp_path) == [True, True]


def names_left(collectives: Collectives, folder: Path) -> tuple[int, list[Path]]:
    shared_memory.FOLDER = folder
    shared_memory.LEAST_BYTES = 1
    collectives.share_memory()
    _, num_shared = watched_exchange(collectives, [(0, 10), (10, 40)])
    collectives.gather_json("after the first rank is through")
    return num_shared, list(folder.iterdir())


def test_its_file_has_no_name_left_once_all_share_it(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    assert run_ranks(names_left, 2, tmp_path, tmp_path / "memory") == [(2, [])] * 2
