"""Settings as people write them: sizes in any unit, and fractions of a split without its kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys_dist.cli import main
from recsys_dist.config import load_settings, parse_settings
from recsys_dist.errors import ConfigError
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.settings.split import RandomSplit
from recsys_dist.training.config import TrainConfig

PREPARE = {"input": {"paths": "a.csv", "columns": {"user": "u", "item": "i", "rating": "r"}}, "output": "out"}
TRAIN = {"model": {"kind": "mf"}, "dataset": "d", "run_dir": "r"}
SIZES: dict[str, tuple[type[PrepareConfig | TrainConfig], dict[str, Any]]] = {
    "training.memory_limit": (TrainConfig, TRAIN),
    "cluster.memory_limit": (PrepareConfig, PREPARE),
    "input.max_bytes": (PrepareConfig, PREPARE),
    "input.block_bytes": (PrepareConfig, PREPARE),
    "items.max_bytes": (PrepareConfig, {**PREPARE, "items": {"columns": {"item": "i", "title": "t"}}}),
}


def setting(tmp_path: Path, key: str, value: str) -> object:
    """What the command line makes of KEY=VALUE."""
    kind, tree = SIZES[key]
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(tree))
    found: Any = load_settings(kind, tmp_path / "settings.yaml", [f"{key}={value}"])
    for part in key.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("512MiB", 512 << 20),
        ("512 mib", 512 << 20),
        ("500MB", 500_000_000),
        ("500mb", 500_000_000),
        (".5GiB", 1 << 29),
        ("0.5 gb", 500_000_000),
        ("200000000", 200_000_000),
        ("200000000B", 200_000_000),
        ("2e8", 200_000_000),
    ],
)
def test_every_size_is_written_alike(tmp_path, key, text, num_bytes):
    size = setting(tmp_path, key, text)

    assert size == num_bytes
    assert type(size) is int, "as plain a number as a configuration that is written holds"


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize(
    "text", ["much", "4,5GiB", "4GiBs", "4 GiB free", "-1GiB", "0GiB", "1.9", "1.5B", "'[4]'", "4 4GiB", "nan"]
)
def test_what_is_no_size_is_refused_in_one_line(tmp_path, key, text):
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: .*a size such as 4GiB or 500MB") as refused:
        setting(tmp_path, key, text)

    assert "\n" not in str(refused.value)


def test_a_run_keeps_its_limit_as_a_number():
    config = parse_settings(TrainConfig, {**TRAIN, "training": {"memory_limit": "4gb"}}, "x")

    again = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))

    assert again["training"]["memory_limit"] == 4_000_000_000
    assert parse_settings(TrainConfig, again, "x") == config


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"test": 0.2}, {"test": 0.2}),
        ({"valid": 0}, {"valid": 0.0}),
        ({"test": 0.3, "valid": 0.1, "seed": 7}, {"test": 0.3, "valid": 0.1, "seed": 7}),
        ({"seed": 7}, {"seed": 7}),
        ({}, {}),
    ],
)
def test_fractions_alone_are_a_random_split(split, expected):
    config = parse_settings(PrepareConfig, {**PREPARE, "split": split}, "x")

    assert config.split == RandomSplit(kind="random", **expected)
    assert config == parse_settings(PrepareConfig, {**PREPARE, "split": {"kind": "random", **split}}, "x")


def test_a_fraction_alone_is_the_test_share_of_a_random_split():
    assert parse_settings(PrepareConfig, {**PREPARE, "split": 0.2}, "x").split == RandomSplit(
        kind="random", test=0.2
    )
    with pytest.raises(ConfigError, match=r"split: has keys of its own .* split\.test=VALUE"):
        parse_settings(PrepareConfig, {**PREPARE, "split": 2}, "x")


@pytest.mark.parametrize(
    "split",
    [
        *(
            {"test": 1},
            {"test": 2, "valid": 1},
            {"test": True},
            {"test": -0.1},
            {"test": ["a"]},
            {"test": "a.csv"},
        ),
        *({"by": "hash"}, {"test": 0.1, "min_train": 2}, {"test_from": 9}, {"train": "a", "test": "b"}),
    ],
)
def test_what_may_be_another_split_needs_its_kind(split):
    with pytest.raises(ConfigError, match=r"split: key 'split\.kind' is required, one of random, leave_n_out"):
        parse_settings(PrepareConfig, {**PREPARE, "split": split}, "x")


def test_a_mistyped_key_of_a_split_is_named():
    with pytest.raises(ConfigError, match=r"unknown key 'split\.tst'; allowed here: kind, test, valid, seed"):
        parse_settings(PrepareConfig, {**PREPARE, "split": {"tst": 0.1}}, "x")
    with pytest.raises(ConfigError, match=r"split: test \+ valid must be below 1"):
        parse_settings(PrepareConfig, {**PREPARE, "split": {"test": 0.6, "valid": 0.5}}, "x")


def test_the_split_of_a_proposed_configuration_is_set_by_its_fraction_alone(tmp_path, capsys):
    (tmp_path / "ratings.csv").write_text("user,item,rating\n1,2,3\n2,3,4\n")
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path / "ratings.csv"), "--output", str(tmp_path / "mine.yaml")])
    capsys.readouterr()

    config = load_settings(PrepareConfig, tmp_path / "mine.yaml", ["output=data/mine", "split.test=0.2"])

    assert not ended.value.code
    assert config.split == RandomSplit(kind="random", test=0.2)
