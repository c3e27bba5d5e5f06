"""What a path holds, and what is said where it is not what is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_dist.storage.holdings import Holding, holding, instead_of, why_absent


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one of each."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "data/manifest.json",
        "model/model.json",
        "run/config.yaml",
        "run/status.json",
        "begun/preparing/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").touch()
    (tmp_path / "ratings.csv").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("data", Holding.DATASET),
        ("model", Holding.MODEL),
        ("run", Holding.RUN),
        ("begun", Holding.UNFINISHED),
        ("other", Holding.OTHER),
        ("ratings.csv", Holding.FILE),
        ("nowhere", Holding.NOTHING),
        ("memory://nowhere", Holding.NOTHING),
    ],
)
@pytest.mark.usefixtures("root")
def test_what_a_path_holds(url, kind):
    assert holding(url) is kind


@pytest.mark.parametrize(
    ("url", "wanted", "told"),
    [
        ("run", Holding.MODEL, "run is a training run, not a model folder; make one of it: recsys-dist merge run"),
        ("data", Holding.MODEL, "data is a prepared dataset, not a model folder; train on it and merge the run"),
        ("data", Holding.RUN, "data is a prepared dataset, not a training run; train on it: recsys-dist train"),
        (
            "model",
            Holding.RUN,
            "a model folder, not a training run; give a folder that `recsys-dist train`",
        ),
        ("model", Holding.DATASET, "give a folder that `recsys-dist prepare` wrote"),
        ("run", Holding.DATASET, "its config.yaml names the dataset of the run"),
        ("ratings.csv", Holding.DATASET, "`recsys-dist inspect ratings.csv --output mine.yaml` proposes"),
        ("begun", Holding.DATASET, "is a preparation that is not complete, not a prepared dataset; the same"),
        (
            "other",
            Holding.DATASET,
            "other holds no manifest.json: it is not a prepared dataset; give a",
        ),
        ("nowhere", Holding.MODEL, "there is no folder nowhere; give a folder that `recsys-dist merge` wrote"),
        ("dta", Holding.DATASET, "there is no folder dta; did you mean data? give a folder"),
        ("runs/a", Holding.RUN, "there is no folder runs/a: there is no folder runs; did you mean run? give"),
        ("memory://nowhere", Holding.DATASET, "there is nothing at memory://nowhere; give a folder"),
    ],
)
@pytest.mark.usefixtures("root")
def test_the_wrong_one_is_named_with_the_right_one(url, wanted, told):
    line = instead_of(url, wanted)

    assert told in line
    assert "\n" not in line


def test_the_first_missing_folder_or_a_similar_name_is_told(root):
    assert why_absent(root / "no/such/file.csv") == f": there is no folder {root}/no"
    assert why_absent(root / "rating.csv") == "; did you mean ratings.csv?"
