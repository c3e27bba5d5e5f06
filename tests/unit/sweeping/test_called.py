"""A sweep from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import recsys_dist as rd
from recsys_dist.errors import ConfigError
from tests.support.prepared import small_dataset

pytest.importorskip("optuna", reason="needs the extra sweep")


def test_the_best_settings_are_those_to_train_with(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    model = rd.MF(prior="fixed", posterior="point", factors=2)
    result = rd.sweep(dataset, model, {"model.factors": (2, 3)}, tmp_path / "study", trials=1, epochs=2)
    assert result.best is not None
    assert result.best_config is not None
    assert result.best.settings == {"model.factors": 2}
    assert result.best_config.model == model
    assert result.best_config.training.epochs == 2
    assert not result.is_stopped


def test_a_wrong_space_names_its_key(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    with pytest.raises(
        ConfigError, match=r"^space: unknown key 'model\.factor'; .* did you mean model\.factors\?"
    ):
        rd.sweep(dataset, rd.MF(), {"model.factor": [2, 3]}, tmp_path / "study")
