"""Settings of training that contradict each other or say nothing are refused by their names."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError
from recsys_dist.training.config import TrainConfig


def config(model: dict[str, Any], **training: Any) -> TrainConfig:
    tree = {"dataset": "data", "run_dir": "run", "model": {"kind": "mf", **model}, "training": training}
    return parse_settings(TrainConfig, tree, source="test")


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("4GiB", 4 * 2**30),
        ("500MB", 500_000_000),
        ("1.5 KiB", 1536),
        ("10B", 10),
        ("4gb", 4 * 10**9),
        ("4 TB", 4 * 10**12),
    ],
)
def test_a_memory_limit_is_a_number_of_bytes(text: str, num_bytes: int) -> None:
    assert config({}, memory_limit=text).training.memory_limit == num_bytes
    assert config({}).training.memory_limit is None


@pytest.mark.parametrize("text", ["0GiB", "-1GiB", "GiB", "4GiBs", "4,5GiB", "4 GiB free", ".5B", ""])
def test_a_memory_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"memory_limit.*is not a size such as 4GiB or 500MB"):
        config({}, memory_limit=text)


@pytest.mark.parametrize("extension", [{"constrained": "both"}, {"noise": "users"}])
def test_extensions_of_the_prior_need_one_that_adapts(extension: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="needs prior: adaptive"):
        config({"prior": "fixed", **extension})
    assert config({"prior": "fixed"}).model.kind == "mf"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"hidden": 500}, "compute: bfloat16 needs several hidden layers"),
        ({"hidden": [8, 4], "optimizer": "lbfgs"}, "compute: bfloat16 is too coarse for the line search"),
        ({"hidden": [8, 4], "compute": "float16"}, "compute"),
    ],
)
def test_bfloat16_where_it_would_do_nothing_or_harm_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config({"kind": "autorec", "compute": "bfloat16", **settings})


@pytest.mark.parametrize("hidden", [None, 0, 65537, 5.0, "8,4", [], [8, 0], ["5", "5"], {"a": 1}])
def test_hidden_units_that_are_none_are_refused_by_what_would_be_right(hidden: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden: must be a number of units from 1 to 65536, or a list"):
        config({"kind": "autorec", "hidden": hidden})


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"training: epochs takes a number, not true"):
        config({}, epochs=True)
    with pytest.raises(ConfigError, match=r"model: gradient_clip takes a number, not false"):
        config({"kind": "autorec", "gradient_clip": False})
    with pytest.raises(ConfigError, match=r"model: hidden takes a number, not true"):
        config({"kind": "autorec", "hidden": True})
    assert config({"kind": "autorec", "tied": True}, tensorboard=True).training.trackers == ("tensorboard",)
