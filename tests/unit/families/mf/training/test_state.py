"""What a checkpoint must hold to be that of a matrix factorization."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_dist.errors import CheckpointError
from recsys_dist.families.mf.training.state import MfState
from tests.support.merged import mf_run
from tests.support.prepared import small_dataset


def test_something_else_in_the_checkpoint_is_told(tmp_path: Path) -> None:
    values = mf_run(small_dataset(tmp_path / "dataset")).values
    assert MfState.of(values).model_dump(mode="json") == values

    with pytest.raises(
        CheckpointError, match=r"no matrix factorization: search\.phase: Input should be 'settling'"
    ):
        MfState.of({**values, "search": {**values["search"], "phase": "dreaming"}})
