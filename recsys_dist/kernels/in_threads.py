"""Blocks of work in Python threads that use one CPU core each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from recsys_dist.kernels.one_thread import one_thread

WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")


def in_threads(
    function: Callable[[WorkT], ResultT], blocks: Iterable[WorkT], num_threads: int
) -> Generator[ResultT, None, None]:
    """Results of independent blocks, in their order; at most `num_threads` + 1 of them exist at a time.

    Where a block is many short steps, its thread waits for no other, unlike the threads that torch starts for each
    step.
    """
    waiting: deque[Future[ResultT]] = deque()
    with one_thread(), ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for block in blocks:
                waiting.append(pool.submit(function, block))
                if len(waiting) > num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
