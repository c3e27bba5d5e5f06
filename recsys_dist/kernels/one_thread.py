"""Products and factorizations whose bits depend on the number of threads, computed by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch computes on one CPU thread.

    MKL splits the inner dimension of a product, and the steps of a factorization, by its threads, and torch so
    splits sums of more than 32768 numbers to one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
