"""A memory limit that one block of items exceeds is refused, with one that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recsys_dist.errors import ConfigError
from recsys_dist.families.mf.family import MatrixFactorization
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.protocols.family import TrainingSetup
from tests.support.prepared import small_dataset
from tests.support.states import single_collectives


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
def test_the_least_limit_that_works_is_told_and_works(tmp_path: Path, posterior: str) -> None:
    dataset = small_dataset(tmp_path / "data")
    settings = MfSettings.model_validate({"kind": "mf", "posterior": posterior})

    def check(limit: int | None) -> None:
        setup = TrainingSetup(dataset, settings, 1, 0, limit, single_collectives())
        MatrixFactorization().check(setup)

    check(None)
    with pytest.raises(
        ConfigError, match=r"memory_limit is 1000B, but a block of 15 items with 32 factors"
    ) as told:
        check(1000)
    needed = re.search(r"needs (\d+)KiB", str(told.value))
    assert needed is not None
    check(int(needed[1]) * 1024)
    with pytest.raises(ConfigError, match="set at least that"):
        check((int(needed[1]) - 1) * 1024)
