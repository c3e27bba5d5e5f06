import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml

from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.config import parse_settings
from recsys_dist.errors import CheckpointError, ConfigError, DataError, StorageError, TrainingError
from recsys_dist.metrics import ErrorSums
from recsys_dist.report.run.run_record import RunRecord
from recsys_dist.storage.folder import Folder
from recsys_dist.training import run
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run_folder import RunLock
from tests.support.fake_trainer import FakeTrainer, SearchingTrainer, fake_config, train_by
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.support.states import single_collectives


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small"
    small_dataset(path)
    return path


@pytest.fixture
def trained(monkeypatch):
    """The trainers that were built, each with one more call of `train`."""
    trainers = []

    def build(collectives):
        trainers.append(FakeTrainer(collectives))
        return trainers[-1]

    train_by(monkeypatch, build)
    return trainers


def train(run_dir, dataset, preempted=lambda: False, **sections):
    config = fake_config(run_dir, dataset, **{"training": {"epochs": 2}, **sections})
    return run.run_training(config, single_collectives(), preempted)


def status(run_dir):
    return json.loads(Folder(str(run_dir)).read_bytes("status.json"))


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_run_tells_how_it_stands_and_goes_on(where, dataset, trained, tmp_path):
    run_dir = tmp_path / "run" if where == "local" else f"memory://run-{tmp_path.name}"
    assert train(run_dir, dataset, lambda: True) is Outcome.PREEMPTED
    assert status(run_dir) == {"state": "preempted", "step": 0, "outcome": "preempted"}
    assert train(run_dir, dataset) is Outcome.FINISHED
    assert status(run_dir) == {"state": "finished", "step": 2, "outcome": "finished"}
    assert train(run_dir, dataset) is Outcome.FINISHED
    assert [trainer.trained for trainer in trained] == [0, 2, 0]
    config = yaml.safe_load(Folder(str(run_dir)).read_bytes("config.yaml"))
    assert config == fake_config(run_dir, dataset, training={"epochs": 2}).model_dump(mode="json")


def test_a_model_that_stands_still_is_finished_and_says_so(dataset, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FakeTrainer, "has_converged", property(lambda trainer: trainer.epochs_done >= 2))
    sections = {"training": {"epochs": 9}}

    assert train(tmp_path, dataset, **sections) is Outcome.CONVERGED
    assert status(tmp_path) == {"state": "finished", "step": 2, "outcome": "converged"}
    assert train(tmp_path, dataset, **sections) is Outcome.CONVERGED

    assert [trainer.trained for trainer in trained] == [2, 0]
    assert "is finished: training converged after epoch 2" in capsys.readouterr().out


def raising(error, from_epoch=2):
    """An epoch that fails, from its number on."""
    one_epoch = FakeTrainer.train_epoch

    def train_epoch(trainer, should_stop):
        if trainer.epochs_done + 1 >= from_epoch:
            raise error
        return one_epoch(trainer, should_stop)

    return train_epoch


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TrainingError("a peer\nis gone"), "a peer is gone"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device"),
        (ValueError("3 is not 4"), "ValueError: 3 is not 4"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (MemoryError(), "rank 0 of 1: out of memory; set training.memory_limit"),
        (KeyboardInterrupt(), "ended by Ctrl-C before its state was saved"),
    ],
)
def test_a_run_that_fails_says_so_and_why_and_the_same_command_goes_on(
    dataset, tmp_path, monkeypatch, error, told
):
    with monkeypatch.context() as patch:
        patch.setattr(FakeTrainer, "train_epoch", raising(error))
        with pytest.raises((type(error), TrainingError)):
            train(tmp_path, dataset)
    failed = status(tmp_path)
    assert failed.pop("error").startswith(told)
    # A second Ctrl-C does not wait for the checkpoint that is being written.
    step = 0 if isinstance(error, KeyboardInterrupt) else 1
    assert failed == {"state": "failed", "step": step, "outcome": None}
    assert train(tmp_path, dataset) is Outcome.FINISHED
    assert status(tmp_path) == {"state": "finished", "step": 2, "outcome": "finished"}


@pytest.mark.usefixtures("trained")
def test_numbers_that_are_not_finite_fail_the_run_by_name(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeTrainer, "validate", lambda _trainer: ErrorSums(math.nan, 1.0, 1))
    with pytest.raises(TrainingError):
        train(tmp_path, dataset)
    assert status(tmp_path)["error"].startswith("validation after epoch 1: the sum of squared errors is nan")


@pytest.mark.usefixtures("trained")
def test_a_full_disk_fails_the_run_in_the_room_that_its_status_has(dataset, tmp_path, monkeypatch):
    write_bytes = Folder.write_bytes

    def write(folder, name, data, rows=0):
        if (tmp_path / "metrics.jsonl").exists():
            raise OSError(errno.ENOSPC, "No space left on device", f"{folder.url}/{name}")
        return write_bytes(folder, name, data, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write_bytes", write)
        with pytest.raises(TrainingError, match=r"(step 1|epoch 2) failed: .*No space left"):
            train(tmp_path, dataset)
    assert status(tmp_path)["state"] == "failed"
    assert "No space left" in status(tmp_path)["error"]
    assert train(tmp_path, dataset) is Outcome.FINISHED


@pytest.mark.usefixtures("trained")
def test_a_start_that_is_refused_marks_a_broken_run_but_no_finished_one(dataset, tmp_path):
    train(tmp_path / "preempted", dataset, lambda: True)
    train(tmp_path / "finished", dataset)
    for name, state in (("preempted", "failed"), ("finished", "finished")):
        for manifest in (tmp_path / name / "checkpoints").glob("*/checkpoint.json"):
            manifest.write_text("{}")
        with pytest.raises(CheckpointError, match=r"every checkpoint of .* is damaged"):
            train(tmp_path / name, dataset)
        assert status(tmp_path / name)["state"] == state
    assert "is damaged" in status(tmp_path / "preempted")["error"]


def test_a_mistake_in_the_command_leaves_the_status_of_a_saved_run(dataset, tmp_path):
    train(tmp_path / "run", dataset, lambda: True)
    before = status(tmp_path / "run")

    with pytest.raises(ConfigError, match="seed is 7"):
        train(tmp_path / "run", dataset, seed=7)

    assert status(tmp_path / "run") == before
    assert before["state"] == "preempted"


def removed(path):
    """A checkpoint may be written there at the same time: its temporary files come and go."""
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)


def emptied(path):
    for entry in path.iterdir():
        removed(entry) if entry.is_dir() else entry.unlink(missing_ok=True)


def replaced(path):
    """By the folder of another training, which is a copy here."""
    shutil.copytree(path, f"{path}-other")
    removed(path)
    shutil.move(f"{path}-other", path)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize(
    ("harm", "where"),
    [
        ("removed", "local"),
        ("emptied", "local"),
        ("replaced", "local"),
        ("without config", "local"),
        ("without config", "memory"),
    ],
)
def test_a_run_folder_that_is_gone_ends_the_run_and_is_not_made_again(
    dataset, tmp_path, monkeypatch, harm, when, where
):
    run_dir = tmp_path / "run" if where == "local" else f"memory://gone-{tmp_path.name}-{when}"
    harms: dict[str, Callable[[Any], None]] = {
        "removed": removed,
        "emptied": emptied,
        "replaced": replaced,
        "without config": lambda path: Folder(str(path)).remove("config.yaml"),
    }
    one_epoch = FakeTrainer.train_epoch

    def train_epoch(trainer, should_stop):
        result = one_epoch(trainer, should_stop)
        if trainer.epochs_done == when:
            harms[harm](run_dir)
        return result

    monkeypatch.setattr(FakeTrainer, "train_epoch", train_epoch)
    with pytest.raises(TrainingError, match=rf"run_dir: {run_dir} was removed or replaced during training"):
        train(run_dir, dataset)
    if where == "local":
        assert (tmp_path / "run").exists() == (harm != "removed")
    if harm == "replaced":
        assert status(run_dir)["state"] == "running"


@pytest.mark.usefixtures("trained")
def test_checkpoints_that_are_removed_during_training_end_the_run(dataset, tmp_path, monkeypatch):
    one_epoch = FakeTrainer.train_epoch

    def train_epoch(trainer, should_stop):
        if trainer.epochs_done == 1:
            while not (tmp_path / "run/checkpoints/step-00000001/COMMITTED").exists():
                should_stop()
            shutil.rmtree(tmp_path / "run/checkpoints")
        return one_epoch(trainer, should_stop)

    monkeypatch.setattr(FakeTrainer, "train_epoch", train_epoch)
    with pytest.raises(StorageError, match=r"cannot write .*run/checkpoints/step-00000002: its folder is missing"):
        train(tmp_path / "run", dataset)
    assert status(tmp_path / "run")["state"] == "failed"
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize(("every", "best"), [(1, 4), (2, 4), (3, 6)])
def test_log_merge_and_report_name_the_same_epoch(dataset, tmp_path, monkeypatch, capsys, every, best):
    """The lowest errors are those of a search, and the best epoch after it is not always saved."""
    valid_rmse = (0.1, 0.1, 0.5, 0.4, 0.6, 0.5, 0.7)
    train_by(monkeypatch, lambda collectives: SearchingTrainer(collectives, valid_rmse))
    train(tmp_path, dataset, training={"epochs": 7}, checkpoint={"every": every, "keep": 1})
    told = f"best: epoch {best}, valid RMSE {valid_rmse[best - 1]:.4f}, which merge takes"
    assert told in capsys.readouterr().out.splitlines()
    assert find_checkpoint(Folder(str(tmp_path))).step == best
    assert RunRecord.read(str(tmp_path)).best == (best, valid_rmse[best - 1])
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [f"step-0000000{best}", "step-00000007"]
    shutil.rmtree(tmp_path / "checkpoints")
    assert RunRecord.read(str(tmp_path)).best == (4, 0.4)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"seed": 7}, r"seed is 7, but .* was started with 0; use that value, or another run_dir"),
        ({"model": {"kind": "mf", "factors": 9}}, r"model\.factors is 9, but .* was started with \"auto\""),
        ({"start_from": "runs/a"}, r'start_from is "runs/a", but .* was started with null'),
        ({"model": {"kind": "autorec"}}, r'model\.kind is "autorec", but .* was started with "mf"'),
    ],
)
def test_a_change_that_alters_the_result_is_refused_by_its_key(sections, told, dataset, tmp_path):
    train(tmp_path, dataset)
    with pytest.raises(ConfigError, match=told):
        train(tmp_path, dataset, **sections)
    assert status(tmp_path)["state"] == "finished"


@pytest.mark.usefixtures("trained")
def test_a_run_folder_has_one_training_at_a_time(dataset, tmp_path, monkeypatch):
    def meets_another(*_arguments, **_keywords):
        with pytest.raises(
            ConfigError, match=rf"another training \(process {os.getpid()} on .*\) is writing to .*run"
        ):
            train(tmp_path / "run", dataset, seed=7)
        assert status(tmp_path / "run")["state"] == "running"
        return Outcome.FINISHED

    monkeypatch.setattr(run, "fit", meets_another)
    assert train(tmp_path / "run", dataset) is Outcome.FINISHED
    monkeypatch.undo()
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["seed"] == 0
    with RunLock(Folder(str(tmp_path / "run"))) as lock:
        lock.take()


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(("file", "what"), [("manifest.json", "a dataset"), ("model.json", "a model")])
def test_a_folder_that_is_something_else_is_no_run_folder(dataset, tmp_path, file, what):
    (tmp_path / file).write_text("{}")
    with pytest.raises(ConfigError, match=rf"run_dir: .* is {what}; use another folder for the run"):
        train(tmp_path, dataset)
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("key", ["dataset", "run_dir"])
def test_a_path_that_is_empty_is_named_by_its_key(key):
    tree = {"dataset": "d", "run_dir": "r", "model": {"kind": "mf"}, key: ""}
    with pytest.raises(ConfigError, match=f"{key}: String should have at least 1 character"):
        parse_settings(TrainConfig, tree, source="test")


@pytest.mark.usefixtures("trained")
def test_another_dataset_is_refused_but_a_moved_one_is_not(dataset, tmp_path):
    train(tmp_path / "run", dataset)
    small_dataset(tmp_path / "other", num_ratings=2000)
    with pytest.raises(ConfigError, match=r"^dataset: .*other is not the one that .*run was trained on \(.*split"):
        train(tmp_path / "run", tmp_path / "other")
    small_dataset(tmp_path / "moved")
    assert train(tmp_path / "run", tmp_path / "moved") is Outcome.FINISHED


@pytest.mark.usefixtures("trained")
def test_what_leaves_the_result_alone_may_change(dataset, tmp_path):
    train(tmp_path, dataset)
    changed = {
        "training": {"epochs": 3, "timeout_s": 5, "trackers": ["tensorboard"]},
        "checkpoint": {"every": 2, "keep": 1},
    }
    assert train(tmp_path, dataset, **changed) is Outcome.FINISHED
    assert status(tmp_path)["step"] == 3
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


@pytest.mark.usefixtures("trained")
def test_how_ranks_share_the_work_may_change(dataset, tmp_path):
    for epochs, parallel in enumerate(("auto", "ddp", "sharded"), 2):
        model = {"kind": "autorec", "hidden": 8, "parallel": parallel}
        assert train(tmp_path, dataset, model=model, training={"epochs": epochs}) is Outcome.FINISHED
    assert status(tmp_path)["step"] == 4


@pytest.mark.usefixtures("trained")
def test_tensorboard_on_object_storage_is_refused_before_any_work(dataset, tmp_path):
    run_dir = f"memory://run-{tmp_path.name}"
    with pytest.raises(ConfigError, match=r"training\.trackers: tensorboard needs a local run_dir"):
        train(run_dir, dataset, training={"trackers": ["tensorboard"]})
    assert Folder(run_dir).names() == []


@pytest.mark.usefixtures("trained")
def test_a_damaged_shard_is_named_before_anything_is_written(tmp_path):
    small_dataset(tmp_path / "data")
    shard = tmp_path / "data/blocks/items/00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"blocks/items/00002\.safetensors is damaged"):
        train(tmp_path / "run", tmp_path / "data")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("trained")
def test_patience_without_valid_ratings_is_said_to_stop_nothing(tmp_path, capsys):
    user, item, rating = low_rank_ratings(10, 5, 30)
    write_dataset(tmp_path / "data", user, item, rating, split=np.zeros(len(user), int), num_shards=1)
    settings = {"epochs": 4, "patience": 1}
    assert train(tmp_path / "run", tmp_path / "data", training=settings) is Outcome.FINISHED
    assert status(tmp_path / "run")["step"] == 4
    assert "no validation ratings, so training.patience has no effect" in capsys.readouterr().out
