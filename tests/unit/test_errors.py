"""An allocation that failed is known as one, whoever raised it."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import TrainingError, lack_of_memory

EXABYTE = 2**60


def test_tensors_that_are_too_large_are_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(EXABYTE, dtype=torch.uint8, device="cpu")
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(EXABYTE, dtype=np.uint8)

    assert lack_of_memory(of_torch.value) == f"out of memory (no room for {EXABYTE / 1e6:,.0f} MB more)"
    assert lack_of_memory(of_numpy.value) == "out of memory"
    of_cuda = RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79 GiB")
    assert lack_of_memory(of_cuda) == "out of memory (no room for 2.50 GiB more)"
    assert lack_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory")) == "out of memory"


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOSPC, "full"), ValueError("x")])
def test_other_errors_are_none(error: Exception) -> None:
    assert lack_of_memory(error) is None


def test_work_done_together_tells_of_it_and_lets_defects_through() -> None:
    alone = Collectives(World.single())

    with pytest.raises(TrainingError, match=r"^reading failed: out of memory \(no room for"):
        alone.together("reading", lambda: torch.empty(EXABYTE, dtype=torch.uint8, device="cpu"))
    with pytest.raises(RuntimeError, match="size of tensor"):
        alone.together("reading", lambda: torch.zeros(2, device="cpu") + torch.zeros(3, device="cpu"))
