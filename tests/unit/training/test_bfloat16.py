"""bfloat16 is refused, in one line and by the rank that lacks it, where a processor has none."""

from __future__ import annotations

import pytest
import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError
from recsys_dist.training import bfloat16


def test_a_processor_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Collectives(World.single("cpu"))
    monkeypatch.setattr(bfloat16, "has_bfloat16", lambda device: device.type != "cpu")
    with pytest.raises(ConfigError, match=r"^model\.compute: the cpu of rank 0 has no arithmetic in bfloat16"):
        bfloat16.require_bfloat16(ranks)
    monkeypatch.setattr(bfloat16, "has_bfloat16", lambda device: device.type == "cpu")
    bfloat16.require_bfloat16(ranks)


def test_this_processor_says_whether_it_has_it() -> None:
    assert bfloat16.has_bfloat16(torch.device("cpu")) in {True, False}
