"""A sweep from Python."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import recsys_dist as rd
from recsys_dist.errors import ConfigError, TrainingError
from recsys_dist.sweeping.study import Study
from tests.support.prepared import small_dataset

pytest.importorskip("optuna", reason="needs the extra sweep")

MANY_EPOCHS = 2000


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


def test_a_trial_that_is_pruned_stops_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = small_dataset(tmp_path / "data")
    monkeypatch.setattr(Study, "report", lambda *_: True)
    model = rd.MF(prior="fixed", posterior="point", tolerance=0)
    with pytest.raises(TrainingError, match=r"^none of 1 trials was completed$"):
        rd.sweep(
            *(dataset, model, {"model.factors": [2, 3]}, tmp_path / "study"),
            trials=1,
            epochs=MANY_EPOCHS,
            settings={"training": {"patience": None}},
        )
    with closing(sqlite3.connect(tmp_path / "study" / "study.db")) as file:
        assert file.execute("select state from trials").fetchall() == [("PRUNED",)]
    lines = (tmp_path / "study" / "trial-000" / "metrics.jsonl").read_text().splitlines()
    assert 0 < len(lines) < MANY_EPOCHS


def test_a_wrong_space_names_its_key(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    with pytest.raises(
        ConfigError, match=r"^space: unknown key 'model\.factor'; .* did you mean model\.factors\?"
    ):
        rd.sweep(dataset, rd.MF(), {"model.factor": [2, 3]}, tmp_path / "study")
