"""What several of these tests start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dask_processes import dask_processes


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Dask scheduler on loopback, with two workers."""
    with dask_processes(tmp_path_factory.mktemp("dask"), num_workers=2) as processes:
        yield processes.address
