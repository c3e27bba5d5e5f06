"""The file of a space: what it may say, and one line about what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys_dist.errors import ConfigError
from recsys_dist.sweeping.space import Choice, Range, Space, with_settings
from recsys_dist.training.config import TrainConfig


def base(**model: Any) -> TrainConfig:
    return TrainConfig.model_validate({"dataset": "d", "run_dir": "r", "model": {"kind": "mf", **model}})


def read(tmp_path: Path, text: str, config: TrainConfig | None = None) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return Space.read(path, config or base())


def test_ranges_and_values_with_dots_or_nested(tmp_path: Path) -> None:
    space = read(
        tmp_path,
        "model.factors: {int: [4, 64], log: true}\n"
        "model: {regularization: {float: [1e-1, 20]}, prior: [adaptive, fixed]}\n"
        "training.epochs: [5, 10]\n",
    )
    assert space.dimensions == {
        "model.factors": Range(4, 64, is_int=True, is_log=True),
        "model.regularization": Range(0.1, 20, is_int=False, is_log=False),
        "model.prior": Choice(("adaptive", "fixed")),
        "training.epochs": Choice((5, 10)),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model.factorz: [1, 2]", "unknown key 'model.factorz'; .*; did you mean model.factors?"),
        ("model.prior: [adaptive, fix]", "model.prior: Input should be 'fixed' or 'adaptive', not 'fix'"),
        ("model.factors: {int: [4, 999]}", "model.factors: must be auto or a whole number from 0 to 256"),
        ("model.factors: {int: [9, 3]}", "model.factors: .* is not a range from a smaller to a larger number"),
        ("model.factors: {int: [0, 3], log: true}", "model.factors: with log: true the range must lie above 0"),
        ("model.factors: {int: [1.5, 3]}", "model.factors: .* is not a range of two numbers, such as int:"),
        ("model.regularization: {float: '12'}", "model.regularization: '12' is not a range of two numbers"),
        ("model.factors: {few: [1, 2]}", "model.factors.few: model.factors has no keys below it"),
        ("model.constrained_regularization.a: [1]", "model.constrained_regularization: Input should be"),
        ("model.factors: {int: [1, 3], step: 2}", "model.factors: give a list of values, or a range"),
        ("model.factors: 3", "model.factors: give a list of values, or a range such as .*, not 3"),
        ("model.kind: [mf, ials]", "model.kind cannot be searched; take a key below model, seed"),
        ("run_dir: [a, b]", "run_dir cannot be searched"),
        ("", "names no key to search"),
    ],
)
def test_a_mistake_is_told_in_a_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"space\.yaml:? {told}"):
        read(tmp_path, text)


def test_settings_are_set_at_their_keys() -> None:
    changed = with_settings(base(), {"model.factors": 7, "training.epochs": 3}, "test")
    assert changed == TrainConfig.model_validate(
        {"dataset": "d", "run_dir": "r", "model": {"kind": "mf", "factors": 7}, "training": {"epochs": 3}}
    )


def test_values_become_parameters_and_come_back(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra sweep")
    config = base(kind="autorec", hidden=[8, 4, 8], learning_rate=0.01)
    values = "model: {hidden: [[16], [8, 4, 8]], learning_rate: {float: [0.001, 0.1]}, gradient_clip: [null, 1]}"
    space = read(tmp_path, values, config)
    parameters = space.parameters_of(config)
    assert parameters == {"model.hidden": "[8, 4, 8]", "model.learning_rate": 0.01, "model.gradient_clip": None}
    assert space.settings(parameters) == {
        "model.hidden": [8, 4, 8],
        "model.learning_rate": 0.01,
        "model.gradient_clip": None,
    }
    assert space.distributions().keys() == parameters.keys()
    outside = with_settings(config, {"model.learning_rate": 0.5}, "test")
    assert space.parameters_of(outside) is None
