"""`inspect` of a training run and of a model folder."""

from __future__ import annotations

import json

import pytest

from recsys_dist.distributed.world import World
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run import train
from tests.support.inspect_command import cells, inspect
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    small_dataset(root / "dataset", num_users=30, num_items=20, num_ratings=400, num_shards=2)
    tree = {"dataset": str(root / "dataset"), "run_dir": str(root / "run"), "device": "cpu"}
    model = {"kind": "mf", "factors": 2}
    train(TrainConfig.model_validate({**tree, "model": model, "training": {"epochs": 2}}), World.single())
    return root / "run"


def test_a_run_tells_its_status_epochs_and_the_best_one(trained, capsys):
    assert inspect(trained) == 0

    out = capsys.readouterr().out
    told = dict(cells(out))
    epochs = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    best = min(epochs, key=lambda epoch: epoch["valid_rmse"])
    assert (told["status"], told["epochs"], told["family"]) == ("finished", "2 of 2", "mf")
    assert told["model.factors"] == "2"
    assert told["best epoch"] == f"{best['epoch']}, valid RMSE {best['valid_rmse']:.4f}, which merge takes"
    assert f"merge {trained} --output MODEL_DIR" in out


@pytest.mark.parametrize(
    ("status", "told", "next_step"),
    [
        (
            {"state": "failed", "step": 1, "outcome": None, "error": "the disk is full"},
            "failed: the disk is full",
            True,
        ),
        ({"state": "running", "step": 1, "outcome": None}, "running, or killed", False),
        ({"state": "finished", "step": 2, "outcome": "converged"}, "finished (converged)", False),
    ],
)
def test_a_run_that_has_not_finished_tells_why(trained, tmp_path, capsys, status, told, next_step):
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    (tmp_path / "status.json").write_text(json.dumps(status))

    assert inspect(tmp_path) == 0

    out = capsys.readouterr().out
    assert dict(cells(out))["status"] == told
    assert ("the command that started the run continues it" in out) == next_step


def test_a_model_tells_its_family_sizes_and_figures(tmp_path, capsys):
    dataset = small_dataset(tmp_path / "dataset")
    manifest = write_merged(mf_run(dataset), dataset, tmp_path / "model")

    assert inspect(tmp_path / "model", "--verify") == 0

    out = capsys.readouterr().out
    told = dict(row for row in cells(out) if len(row) == 2)
    assert (told["family"], told["users"], told["items"]) == ("mf", "120", f"{dataset.num_items}")
    assert told["train ratings"] == f"{dataset.manifest.num_ratings['train']:,}"
    assert told["noise variance"] == "0.7"
    assert f"All {len(manifest.files)} files are as recorded" in out


def test_a_damaged_model_is_one_line(tmp_path, capsys):
    dataset = small_dataset(tmp_path / "dataset")
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    (tmp_path / "model/users.parquet").write_bytes(b"x")

    assert inspect(tmp_path / "model", "--verify") == 2
    assert "users.parquet" in capsys.readouterr().err
