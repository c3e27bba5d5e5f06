import itertools
import json
import math
import os
import shutil
import signal

import pytest
import torch

from recsys_dist.checkpoint.checkpoint import committed_names, find_checkpoint
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.errors import TrainingError
from recsys_dist.metrics import ErrorSums
from recsys_dist.process.preemption import watch_for_preemption
from recsys_dist.storage.folder import Folder
from recsys_dist.training import run
from recsys_dist.training.loop import Outcome, fit
from recsys_dist.training.tracking import Tracker
from tests.support.fake_trainer import NUM_ROWS, STEPS, FakeTrainer, fake_config, train_by, unbroken_rows
from tests.support.prepared import small_dataset
from tests.support.ranks import run_ranks
from tests.support.threads import run_threads

EPOCHS = 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small"
    small_dataset(path, num_ratings=300)
    return str(path)


@pytest.fixture
def _fake_trainer(monkeypatch):
    train_by(monkeypatch, FakeTrainer)


def train_on_rank(collectives, dataset, run_dir, asked_rank=None, asked_at=0, **sections):
    """One start of a run; the rank `asked_rank` alone is asked to stop, at its question number `asked_at`."""
    asked = itertools.count()

    def preempted():
        return collectives.world.rank == asked_rank and next(asked) >= asked_at

    config = fake_config(run_dir, dataset, training={"epochs": EPOCHS}, **sections)
    return run.run_training(config, collectives, preempted)


def saved_rows(run_dir):
    return find_checkpoint(Folder(str(run_dir))).read_rows("rows", 0, NUM_ROWS)["x"]


@pytest.mark.usefixtures("_fake_trainer")
@pytest.mark.parametrize("asked_at", [0, 1, STEPS, STEPS + 1, 2 * STEPS])
@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 2), (3, 2), (4, 1)])
def test_one_rank_asked_to_stop_saves_all_and_any_number_of_ranks_goes_on(
    before, after, asked_at, dataset, tmp_path
):
    outcomes = run_threads(train_on_rank, before, dataset, str(tmp_path), before - 1, asked_at)
    assert outcomes == [Outcome.PREEMPTED] * before
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "preempted"
    assert run_threads(train_on_rank, after, dataset, str(tmp_path)) == [Outcome.FINISHED] * after
    assert torch.equal(saved_rows(tmp_path), unbroken_rows(EPOCHS))
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


def differ_on_rank(collectives, dataset, run_dir):
    with pytest.raises(TrainingError) as refused:
        train_on_rank(collectives, dataset, run_dir, seed=collectives.world.rank)
    return str(refused.value)


def test_ranks_that_were_started_with_other_settings_are_refused(dataset, tmp_path):
    for error in run_threads(differ_on_rank, 2, dataset, str(tmp_path / "run")):
        assert error.startswith("the ranks differ in the configuration: rank 0 has ")
    assert not (tmp_path / "run").exists()


class SignalledTrainer(FakeTrainer):
    """Rank 1 is sent SIGTERM within the second epoch of its first start, and dies in the third of a later one."""

    def __init__(self, collectives, action):
        super().__init__(collectives)
        self._action = action if collectives.world.rank == 1 else None

    def train_epoch(self, should_stop):
        if self._action == "SIGTERM" and self.epochs_done == 1:
            signal.raise_signal(signal.SIGTERM)
        if self._action == "die" and self.epochs_done == 2:
            os._exit(9)
        return super().train_epoch(should_stop)


def train_through_a_signal(collectives, dataset, run_dir):
    """On real ranks: rank 1 gets SIGTERM and all save; the next start goes on until rank 1 dies."""
    config = fake_config(run_dir, dataset, training={"epochs": EPOCHS})
    with pytest.MonkeyPatch.context() as patch, watch_for_preemption() as preempted:
        train_by(patch, lambda ranks: SignalledTrainer(ranks, "SIGTERM"))
        assert run.run_training(config, collectives, preempted) is Outcome.PREEMPTED
    with pytest.MonkeyPatch.context() as patch:
        train_by(patch, lambda ranks: SignalledTrainer(ranks, "die"))
        with pytest.raises(TrainingError, match=r"rank 0 of 2: all_reduce failed: no response from rank 1"):
            run.run_training(config, collectives, lambda: False)


@pytest.mark.usefixtures("_fake_trainer")
def test_real_ranks_save_on_sigterm_and_end_when_one_dies(dataset, tmp_path):
    with pytest.raises(AssertionError) as ended:
        run_ranks(train_through_a_signal, 2, tmp_path / "ranks", dataset, str(tmp_path / "run"))
    assert str(ended.value) == "rank 1 died with exit code 9", "rank 0 ends in time, with an error of its own"
    # Epoch 2 was being written.
    saved = [str(name) for name in committed_names(Folder(str(tmp_path / "run/checkpoints")))]
    assert saved == ["step-00000001", "step-00000001-part-0001"]
    run_threads(train_on_rank, 1, dataset, str(tmp_path / "run"))
    assert torch.equal(saved_rows(tmp_path / "run"), unbroken_rows(EPOCHS))


def train_sharded(collectives, dataset, run_dir):
    model = {"kind": "autorec", "hidden": 8, "parallel": "sharded", "batch_ratings": 64}
    given = {"regularization": 0.1, "implicit_input": 0.0, "input_dropout": 0.0}
    sections = {"model": {**model, **given}, "training": {"epochs": EPOCHS}, "checkpoint": {"every": 99}}
    run.run_training(fake_config(run_dir, dataset, **sections), collectives, lambda: False)


def test_the_metrics_count_all_that_an_epoch_receives(dataset, tmp_path):
    run_ranks(train_sharded, 2, tmp_path / "ranks", dataset, str(tmp_path / "run"))
    # Hidden units and their gradients in training, hidden units again in validation: float32, on two ranks.
    tables = (4 + 4 + 4) * 60 * 8
    received = [
        json.loads(line)["received_mb"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    ]
    assert len(received) == EPOCHS
    assert tables < 1e6 * min(received) <= 1e6 * max(received) < 1.2 * tables


def fail_on_last_rank(collectives, dataset, run_dir):
    """Numbers that are not finite on one rank alone."""

    class Diverging(FakeTrainer):
        def state(self):
            if collectives.world.rank == collectives.world.size - 1 and self.epochs_done == 2:
                self.rows = torch.full_like(self.rows, torch.nan)
            return super().state()

    with pytest.MonkeyPatch.context() as patch:
        train_by(patch, Diverging)
        with pytest.raises(TrainingError) as told:
            train_on_rank(collectives, dataset, run_dir)
    return str(told.value)


@pytest.mark.usefixtures("_fake_trainer")
def test_what_one_rank_fails_at_is_told_in_the_status_by_the_first(dataset, tmp_path):
    told = run_ranks(fail_on_last_rank, 2, tmp_path / "ranks", dataset, str(tmp_path / "run"))
    assert told[0] == told[1]
    assert "rank 1: x of rows is not finite at row 3" in told[0]
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert status == {"state": "failed", "step": 1, "outcome": None, "error": told[0]}
    assert run_threads(train_on_rank, 1, dataset, str(tmp_path / "run")) == [Outcome.FINISHED]


def diverge_after_the_best(collectives, dataset, run_dir):
    """All ranks fail together, long before the next checkpoint is due."""

    class Diverging(FakeTrainer):
        def validate(self):
            return ErrorSums(math.nan, 1.0, 1) if self.epochs_done == 5 else super().validate()

    config = fake_config(run_dir, dataset, checkpoint={"every": "auto"}, training={"epochs": 9})
    trainer = Diverging(collectives, (0.9, 0.8, 0.7, 0.75, 0.8))
    folder = Folder(run_dir)
    tracker = Tracker(folder, 9, collectives.world.is_first)
    with pytest.raises(TrainingError, match="validation after epoch 5: the sum of squared errors is nan"):
        fit(trainer, CheckpointStore(folder, collectives, 2), tracker, config, collectives, lambda: False)


def test_a_failure_that_all_ranks_share_saves_the_best_state(dataset, tmp_path):
    run_threads(diverge_after_the_best, 2, dataset, str(tmp_path))
    best = find_checkpoint(Folder(str(tmp_path)))
    assert best.step == 3
    assert torch.equal(saved_rows(tmp_path), unbroken_rows(3))


def remove_checkpoints_before_a_save(collectives, dataset, run_dir):
    class Removing(FakeTrainer):
        def state(self):
            if self.epochs_done == 2 and collectives.world.is_first:
                shutil.rmtree(run_dir)
            collectives.any_rank(False)
            return super().state()

    with pytest.MonkeyPatch.context() as patch:
        train_by(patch, Removing)
        with pytest.raises(TrainingError) as told:
            train_on_rank(collectives, dataset, run_dir)
    return str(told.value)


def test_a_run_folder_removed_before_a_save_ends_all_ranks_and_none_makes_it_again(dataset, tmp_path):
    told = run_ranks(remove_checkpoints_before_a_save, 2, tmp_path / "ranks", dataset, str(tmp_path / "run"))
    assert told[0] == told[1]
    assert told[0].startswith("saving the checkpoint of step 2 failed: rank 0: cannot write")
    assert not (tmp_path / "run").exists()
