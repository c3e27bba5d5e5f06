"""What a checkpoint must hold to be that of an AutoRec."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_dist.errors import CheckpointError
from recsys_dist.families.autorec.training.state import AutorecState
from tests.support.merged import autorec_run
from tests.support.prepared import small_dataset


def test_something_else_in_the_checkpoint_is_told(tmp_path: Path) -> None:
    values = autorec_run(small_dataset(tmp_path / "dataset"), "items").values
    assert AutorecState.of(values).model_dump(mode="json") == values

    with pytest.raises(CheckpointError, match=r"no AutoRec: search\.phase: Input should be 'settling'"):
        AutorecState.of({**values, "search": {**values["search"], "phase": "dreaming"}})
