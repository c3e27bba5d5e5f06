"""Settings of an AutoRec whose keys have other names elsewhere are refused with the name that is right."""

from __future__ import annotations

import pytest

from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError
from recsys_dist.training.config import TrainConfig


@pytest.mark.parametrize(
    ("old", "new"), [("presence", "implicit_input"), ("length_power", "length_normalization")]
)
def test_an_old_key_is_refused_with_the_new_one(old, new):
    tree = {"dataset": "d", "run_dir": "r", "model": {"kind": "autorec", old: 0.5}}
    with pytest.raises(ConfigError, match=f"FILE: model: {old} is called {new}"):
        parse_settings(TrainConfig, tree, source="FILE")
    tree["model"] = {"kind": "autorec", new: 0.5}
    assert parse_settings(TrainConfig, tree, source="FILE").model.model_dump()[new] == 0.5
