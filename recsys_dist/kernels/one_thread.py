"""Single-threaded products and factorizations, where the bits would depend on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one CPU thread within the block.

    MKL splits the inner dimension of a product and the steps of a factorization by threads; torch splits sums of
    more than 32768 numbers in the same way.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
