"""Ranks as threads of one process: milliseconds where processes take seconds. For code that sends only JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World

DEADLINE_S = 20.0


class ThreadCollectives(Collectives):
    """The collectives that carry JSON and flags; a rank that stays away breaks them at the deadline."""

    def __init__(self, rank: int, board: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(World(rank, len(board), torch.device("cpu")))
        self._board = board
        self._barrier = barrier

    def gather_json(self, value: Any) -> list[Any]:
        self._board[self.world.rank] = json.loads(json.dumps(value))
        self._barrier.wait(DEADLINE_S)
        everyone = list(self._board)
        self._barrier.wait(DEADLINE_S)
        return everyone

    def any_rank(self, flag: bool) -> bool:
        return any(self.gather_json(flag))


def run_threads(work: Callable[..., Any], world_size: int, *args: Any) -> list[Any]:
    """Call `work(collectives, *args)` on every rank and return what each returned, in rank order."""
    board: list[Any] = [None] * world_size
    barrier = threading.Barrier(world_size)
    with ThreadPoolExecutor(world_size) as pool:
        ranks = [pool.submit(work, ThreadCollectives(rank, board, barrier), *args) for rank in range(world_size)]
        return [rank.result() for rank in ranks]
