"""`plan` on the command line: tables, the file, one line for mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys_dist.training.plan import Plan
from tests.support.prepared import small_dataset
from tests.unit.cli.test_commands import one_line_error, run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_dataset(tmp_path_factory.mktemp("plan") / "dataset").folder.url


def test_a_plan_of_two_measured_ranks(capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str) -> None:
    output = tmp_path / "plan.json"
    code, out, _ = run(
        capsys, "plan", "--config", "mf", "--ranks", "2", "-o", str(output), f"dataset={dataset}", "seed=3"
    )
    assert code == 0
    for told in ("process", "items in exchange", "rank 1", "received from other ranks", "seconds of an epoch"):
        assert told in out
    plan = Plan.parse(output.read_bytes(), "plan.json")
    assert plan.fits
    assert len(plan.ranks) == 2
    assert plan.ranks[0].memory["process"] > 50e6
    assert plan.epoch_seconds is not None
    assert 0 < plan.epoch_seconds < 60
    assert not (tmp_path / "unused").exists()


def test_what_does_not_fit_is_printed_with_advice(capsys: pytest.CaptureFixture[str], dataset: str) -> None:
    code, out, _ = run(
        capsys,
        *("plan", "--config", "ease", "--no-measure", f"dataset={dataset}"),
        *("model.method=exact", "training.memory_limit=100KB"),
    )
    assert code == 0
    assert "Training would refuse to start: model.method: exact needs" in out
    assert "model.method=sparse" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--memory", "a lot"], "--memory 'a lot' is not a size such as 4GiB or 500MB"),
        (["--memory", "2MiB"], "--memory 2.0MiB is less than Python and torch take by themselves"),
        (["dataset=nowhere"], "there is no folder nowhere; give a folder that `recsys-dist prepare` wrote"),
        (["model.factorz=3"], "factorz"),
        (["--output", "nowhere/plan.json"], "there is no folder nowhere"),
    ],
)
def test_mistakes_are_told_in_a_line(
    capsys: pytest.CaptureFixture[str], dataset: str, arguments: list[str], told: str
) -> None:
    code, _, err = run(capsys, "plan", "--config", "mf", "--no-measure", f"dataset={dataset}", *arguments)
    assert told in one_line_error(code, err)


def test_a_file_that_is_no_plan_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str
) -> None:
    run_dir, file = tmp_path / "run", tmp_path / "plan.json"
    train = ["train", "--config", "mf", f"dataset={dataset}", f"run_dir={run_dir}", "device=cpu"]
    assert run(capsys, *train, "training.epochs=1", "model.factors=2")[0] == 0
    file.write_text(json.dumps({"kind": "mf"}))
    code, _, err = run(capsys, "report", str(run_dir), "--plan", str(file), "--output", str(tmp_path / "r.html"))
    assert "plan.json is not a plan: dataset_digest" in one_line_error(code, err)
