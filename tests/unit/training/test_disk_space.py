"""A disk that cannot hold the checkpoints of a run is told before the first epoch."""

import shutil

import pytest

from recsys_dist.errors import ConfigError, TrainingError
from recsys_dist.families.mf.family import MatrixFactorization
from recsys_dist.protocols.plan import ModelPlan, RankPlan
from recsys_dist.training import disk_space, run
from recsys_dist.training.loop import Outcome
from tests.support.fake_trainer import NUM_ROWS, FakeTrainer, fake_config, train_by
from tests.support.prepared import small_dataset
from tests.support.states import single_collectives
from tests.support.threads import run_threads

STATE_BYTES, PLANNED_BYTES = NUM_ROWS * 8, 10**6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small"
    small_dataset(path, num_ratings=300)
    return str(path)


@pytest.fixture(autouse=True)
def _fake_trainer(monkeypatch):
    """A family without a plan: its state says how large a checkpoint is."""
    train_by(monkeypatch, FakeTrainer)
    monkeypatch.setattr(MatrixFactorization, "plan", lambda _family, _setup: None)


def leave_free(monkeypatch, num_bytes):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        "recsys_dist.training.disk_space.shutil.disk_usage", lambda _path: usage._replace(free=num_bytes)
    )


def train(run_dir, dataset, collectives=None, epochs=5, **checkpoint):
    sections = {"training": {"epochs": epochs}, "checkpoint": {"every": 1, **checkpoint}}
    config = fake_config(run_dir, dataset, **sections)
    return run.run_training(config, collectives or single_collectives(), lambda: False)


def test_too_small_a_disk_is_refused_in_one_line_before_the_first_epoch(dataset, tmp_path, monkeypatch):
    leave_free(monkeypatch, 3 * STATE_BYTES - 1)
    with pytest.raises(
        ConfigError, match=r"run_dir: the disk of .* free, but .*: up to 3 at a time.*keep \(now 2\)"
    ):
        train(tmp_path / "run", dataset)
    assert not (tmp_path / "run/metrics.jsonl").exists()
    assert train(tmp_path / "run", dataset, keep=1) is Outcome.FINISHED


def test_room_is_asked_for_no_more_checkpoints_than_the_run_makes(dataset, tmp_path, monkeypatch):
    leave_free(monkeypatch, STATE_BYTES)
    assert train(tmp_path / "one", dataset, epochs=1) is Outcome.FINISHED
    assert train(tmp_path / "last", dataset, every=9) is Outcome.FINISHED


def test_checkpoints_of_the_run_count_as_room(dataset, tmp_path, monkeypatch):
    train(tmp_path / "run", dataset, epochs=2)
    leave_free(monkeypatch, 0)
    monkeypatch.setattr(disk_space, "_most_at_a_time", lambda _config: 2)
    assert train(tmp_path / "run", dataset, epochs=3) is Outcome.FINISHED
    monkeypatch.setattr(disk_space, "_most_at_a_time", lambda _config: 999)
    with pytest.raises(ConfigError, match="up to 999 at a time"):
        train(tmp_path / "run", dataset, epochs=4)


def refused_on_rank(collectives, run_dir, dataset):
    with pytest.raises(TrainingError) as told:
        train(run_dir, dataset, collectives)
    return str(told.value)


def test_a_plan_tells_the_size_without_a_state_that_would_take_a_pass_over_the_ratings(
    dataset, tmp_path, monkeypatch
):
    planned = 8 * PLANNED_BYTES
    rank = RankPlan(tables={}, working_bytes=0, received_bytes=0, work=1.0)
    plan = ModelPlan(ranks=[rank], checkpoint={"rows": planned}, settled=None, thinned=())
    monkeypatch.setattr(MatrixFactorization, "plan", lambda _family, _setup: plan)
    monkeypatch.setattr(FakeTrainer, "state", lambda _trainer: pytest.fail("asked for the state"))
    leave_free(monkeypatch, 3 * planned - 1)
    with pytest.raises(ConfigError, match=r"the disk of .* up to 3 at a time, of 8 MB each"):
        train(tmp_path / "run", dataset)


def test_all_ranks_are_refused_together(dataset, tmp_path, monkeypatch):
    leave_free(monkeypatch, 0)
    told = run_threads(refused_on_rank, 2, str(tmp_path / "run"), dataset)
    assert told[0] == told[1]
    assert told[0].startswith("checking the disk failed: run_dir: the disk of")
