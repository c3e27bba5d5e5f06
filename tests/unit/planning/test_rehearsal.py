"""The share of the rows that a rehearsal keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recsys_dist.planning import rehearsal
from recsys_dist.protocols.registry import family_named
from recsys_dist.training.plan import plan_setup
from tests.support.prepared import small_dataset
from tests.unit.planning.test_planner import config_of


def shares_of(tmp_path: Path, model: dict[str, Any]) -> dict[str, float]:
    dataset = small_dataset(tmp_path / "data", num_users=3000, num_items=500, num_ratings=30_000)
    config = config_of(dataset, model)
    setup = plan_setup(config, dataset, [10**9], torch.device("cpu"), 1)
    family = family_named(model["kind"])
    plan = family.plan(setup)
    assert plan is not None
    return {str(side): share for side, share in rehearsal._shares(family, setup, plan).items()}


def test_a_small_dataset_is_rehearsed_whole(tmp_path: Path) -> None:
    assert shares_of(tmp_path, {"kind": "mf"}) == {"users": 1.0, "items": 1.0}


def test_the_longer_side_is_thinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rehearsal, "MOST_RATINGS", 6_000)
    shares = shares_of(tmp_path, {"kind": "ials", "factors": 8})
    assert shares["items"] == 1.0
    assert 0.2 < shares["users"] < 0.3


def test_both_sides_are_thinned_where_one_does_not_suffice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rehearsal, "ROOM_BYTES", 6_500_000)
    shares = shares_of(tmp_path, {"kind": "ials", "factors": 1024})
    assert shares["users"] == shares["items"] < 1
