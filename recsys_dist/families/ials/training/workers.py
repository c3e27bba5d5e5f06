"""Independent pieces of work on the threads of this process, each on one thread.

Small products gain nothing from several threads. With one thread each, their bits do not depend on the number of
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from recsys_dist.kernels.one_thread import one_thread

WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")


def on_all_threads(
    work: Callable[[WorkT], ResultT], pieces: Iterable[WorkT], device: torch.device
) -> list[ResultT]:
    """The results in the order of the pieces. On a GPU the pieces run one after the other."""
    num_threads = torch.get_num_threads()
    if device.type != "cpu":
        return [work(piece) for piece in pieces]
    with one_thread():
        if num_threads == 1:
            return [work(piece) for piece in pieces]
        with ThreadPoolExecutor(num_threads) as pool:
            return list(pool.map(work, pieces))
