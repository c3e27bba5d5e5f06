"""`sweep` on the command line: real studies of a tiny dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.unit.cli.test_commands import one_line_error, run

pytest.importorskip("optuna", reason="needs the extra sweep")

ALS = ("model.prior=fixed", "model.posterior=point", "training.epochs=4", "device=cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_dataset(tmp_path_factory.mktemp("sweep") / "dataset").folder.url


def sweep(tmp_path: Path, dataset: str, space: str, *arguments: str) -> tuple[str, ...]:
    (tmp_path / "space.yaml").write_text(space)
    places = ("--space", str(tmp_path / "space.yaml"), "--study", str(tmp_path / "study"), f"dataset={dataset}")
    return ("sweep", *places, *arguments)


def test_two_jobs_find_settings_that_train_takes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str
) -> None:
    space = "model.regularization: {float: [0.5, 50], log: true}\nmodel.factors: {int: [2, 6]}"
    arguments = ("--config", "mf", "--trials", "2", "--jobs", "2", *ALS, "model.factors=3")
    code, out, _ = run(capsys, *sweep(tmp_path, dataset, space, *arguments))
    assert code == 0
    assert [len(re.findall(rf"^trial {number}: valid RMSE 0\.\d{{4}}; best", out, re.M)) for number in (0, 1)] == [
        1,
        1,
    ]
    tree = yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())
    assert "run_dir" not in tree
    assert tree["device"] == "cpu"
    assert f"recsys-dist train --config {tmp_path}/study/best.yaml run_dir=RUN_DIR" in out
    first = yaml.safe_load((tmp_path / "study" / "trial-000" / "config.yaml").read_text())
    assert (first["model"]["factors"], first["model"]["regularization"]) == (3, 5.0), "the settings of the file"

    more = sweep(tmp_path, dataset, space, *arguments, "--trials", "3")
    assert run(capsys, *more)[0] == 0
    assert sorted(path.name for path in (tmp_path / "study").glob("trial-*")) == [
        "trial-000",
        "trial-001",
        "trial-002",
    ]
    other = sweep(tmp_path, dataset, "model.factors: {int: [2, 6]}", *arguments)
    code, _, err = run(capsys, *other)
    assert one_line_error(code, err).startswith('the space is {"model.factors": ["Range", {"low": 2, "high": 6, ')
    best = ["train", "--config", str(tmp_path / "study" / "best.yaml"), f"run_dir={tmp_path / 'run'}"]
    assert run(capsys, *best)[0] == 0


def test_lists_are_judged_by_their_ndcg(capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str) -> None:
    space = "model.regularization: [20.0]\nmodel.dropout: [0.0, 0.3]"
    code, out, _ = run(capsys, *sweep(tmp_path, dataset, space, "--config", "ease", "--trials", "1"))
    assert code == 0
    assert re.search(r"^trial 0: valid nDCG@10 0\.\d{4}; best", out, re.M)
    assert "valid RMSE" not in out
    assert not list((tmp_path / "study" / "trial-000").glob("model*")), "the model is not kept"


def test_trials_that_fail_are_told_and_the_others_count(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str
) -> None:
    space = "model.hidden: [[4], [6]]"
    arguments = ("--config", "autorec_item", "model.hidden=4", "training.epochs=2", "device=cpu", "--trials")
    assert run(capsys, *sweep(tmp_path, dataset, space, *arguments, "1"))[0] == 0
    too_small = ("2", "training.memory_limit=1KB")
    code, out, _ = run(capsys, *sweep(tmp_path, dataset, space, *arguments, *too_small))
    assert code == 0
    assert re.search(r"^Trial 1 failed: .*memory_limit", out, re.M)
    assert f"merge {tmp_path}/study/trial-000 --output" in out


def test_only_failures_end_the_sweep(capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str) -> None:
    # Each value is valid beside the configuration, and not beside the other.
    space = "model.prior: [fixed]\nmodel.noise: [users]"
    arguments = ("--config", "mf", "--jobs", "1", "model.constrained=none")
    code, _, err = run(capsys, *sweep(tmp_path, dataset, space, *arguments))
    assert "the first 3 trials have failed: trial: model: noise: users or both needs" in one_line_error(code, err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", "mf", "--for", "list"], "--for 'list' is not one of ratings, lists; did you mean lists?"),
        (["--config", "mf", "device=cuda"], "device: cuda is a GPU, but trials run on the CPU; add device=cpu"),
        (["--config", "ease", "--for", "ratings"], "--for ratings: a model of kind ease makes lists"),
        (["--config", "mf", "--study", "s3://a/b"], "--study s3://a/b is a URL, but the study is a SQLite file"),
        (["--config", "mf", "--space", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (["--config", "mf", "--study", "DATASET"], "holds other files, such as "),
    ],
)
def test_mistakes_are_told_in_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str, arguments: list[str], told: str
) -> None:
    given = [dataset if word == "DATASET" else word for word in arguments]
    code, _, err = run(capsys, *sweep(tmp_path, dataset, "model.regularization: [1.0, 2.0]", *given))
    assert told in one_line_error(code, err)
    assert not (tmp_path / "study").exists()


def test_a_dataset_without_validation_ratings_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    user, item, rating = low_rank_ratings(30, 20, 300)
    write_dataset(tmp_path / "data", user, item, rating, (rating * 0).astype(int))
    code, _, err = run(capsys, *sweep(tmp_path, str(tmp_path / "data"), "model.factors: [2, 4]", "--config", "mf"))
    assert "has no valid ratings to judge by; prepare it with split.valid above 0" in one_line_error(code, err)


def test_a_missing_package_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    code, _, err = run(capsys, *sweep(tmp_path, dataset, "model.factors: [2, 4]", "--config", "mf"))
    assert re.search(r"sweep: .*; pip install -e '.*\[sweep\]'", one_line_error(code, err))
