"""`training.trackers`: names, classes of one's own; what cannot be used is refused before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recsys_dist.config import load_settings, parse_settings
from recsys_dist.errors import ConfigError
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig, TrainingSettings
from recsys_dist.training.trackers.choice import new_trackers
from tests.support.prepared import small_dataset
from tests.support.tracked import train_tracked


def parsed(**training: object) -> TrainingSettings:
    tree = {"dataset": "d", "run_dir": "r", "model": {"kind": "mf"}, "training": training}
    return parse_settings(TrainConfig, tree, source="test").training


def test_names_are_a_list_or_one_alone() -> None:
    assert parsed().trackers == ()
    assert parsed(trackers="mlflow").trackers == ("mlflow",)
    assert parsed(trackers=["mlflow", "my_module:Mine", "mlflow"]).trackers == ("mlflow", "my_module:Mine")


def test_a_list_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("dataset: d\nrun_dir: r\nmodel: {kind: mf}\n")
    config = load_settings(TrainConfig, tmp_path / "c.yaml", ["training.trackers=[mlflow, wandb]"])
    assert config.training.trackers == ("mlflow", "wandb")


@pytest.mark.parametrize(
    ("trackers", "told"),
    [
        (["tensorbord"], r"training\.trackers: 'tensorbord' is not one of .*; did you mean tensorboard\?"),
        (
            "neptune",
            r"training\.trackers: 'neptune' is not one of tensorboard, mlflow, wandb; a class of your own",
        ),
        (True, r"training\.trackers: must be a list of tensorboard, mlflow, wandb or MODULE:CLASS, not True"),
    ],
)
def test_a_wrong_name_is_told(trackers: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parsed(trackers=trackers)


def test_configurations_of_older_runs_are_read() -> None:
    assert parsed(tensorboard=False).trackers == ()
    assert parsed(tensorboard=True, epochs=3) == parsed(trackers=["tensorboard"], epochs=3)
    with pytest.raises(ConfigError, match=r"unknown key 'training\.tensorboard'"):
        parsed(tensorboard=True, trackers=[])


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in [one for one in sys.modules if one.startswith(("torch.utils.tensorboard", f"{name}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"^training\.trackers: {name}: .*; pip install -e '.*\[{name}\]', or"):
        new_trackers([name], Folder(str(tmp_path / "run")), {})
    assert not (tmp_path / "run").exists()


class TestOwn:
    """MODULE:CLASS"""

    CODE = """
from recsys_dist.training.trackers.protocol import ExperimentTracker

class Mine(ExperimentTracker):
    told = []
    def open(self, parameters, epochs_done):
        self.told.append((parameters["model"]["kind"], epochs_done))
    def log(self, epoch, figures):
        self.told.append((epoch, figures["valid_rmse"]))
    def close(self, outcome, figures):
        self.told.append((outcome, figures))

class Half(ExperimentTracker):
    def open(self, parameters, epochs_done): ...
"""

    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "my_trackers.py").write_text(self.CODE)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "my_trackers", raising=False)

    def test_is_told_of_the_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        small_dataset(tmp_path / "data")
        train_tracked(monkeypatch, tmp_path / "run", tmp_path / "data", 2, ["my_trackers:Mine"])
        best = {"best_epoch": 2.0, "best_valid_rmse": pytest.approx(0.8)}
        assert sys.modules["my_trackers"].Mine.told == [
            ("mf", 0),
            (1, pytest.approx(0.9)),
            (2, pytest.approx(0.8)),
            ("finished", best),
        ]

    @pytest.mark.parametrize(
        ("spec", "told"),
        [
            ("my_trackers:Nothing", "Nothing is not a subclass of"),
            ("my_trackers:Half", "does not implement close, log"),
            ("no_such_module:Mine", "the module no_such_module cannot be imported"),
        ],
    )
    def test_is_refused_where_it_cannot_be(self, spec: str, told: str) -> None:
        with pytest.raises(ConfigError, match=rf"^training\.trackers: {spec}: .*{told}"):
            new_trackers([spec], Folder("memory://x"), {})
