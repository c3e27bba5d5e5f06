import errno
import itertools
import json
import logging
import math
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recsys_dist.checkpoint.checkpoint import Checkpoint, committed_names, find_checkpoint
from recsys_dist.checkpoint.snapshot import Snapshot
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.errors import TrainingError
from recsys_dist.metrics import ErrorSums
from recsys_dist.protocols.trainer import EpochResult
from recsys_dist.storage.folder import Folder
from recsys_dist.training import loop
from recsys_dist.training.loop import Outcome, fit
from recsys_dist.training.tracking import Tracker
from tests.support.fake_trainer import NUM_ROWS, STEPS, FakeTrainer, SearchingTrainer, fake_config, unbroken_rows
from tests.support.kills import kill_at
from tests.support.ranks import run_ranks
from tests.support.states import single_collectives


def start_fit(
    run_dir,
    preempted=lambda: False,
    valid_rmse=(),
    trainer=None,
    stops_early=True,
    is_replaced=lambda: False,
    **sections,
):
    """One start of a run, as a later process would do it: everything anew but the run folder."""
    collectives, folder = single_collectives(), Folder(str(run_dir))
    config = fake_config(run_dir, **sections)
    trainer = trainer or FakeTrainer(collectives, valid_rmse)
    store = CheckpointStore(folder, collectives, config.checkpoint.keep)

    def check():
        if is_replaced():
            raise TrainingError("the folder was replaced")

    tracker = Tracker(folder, config.training.epochs, is_active=True, check=check)
    outcome = fit(trainer, store, tracker, config, collectives, preempted, store.latest(), None, stops_early)
    return outcome, trainer


def saved(run_dir):
    return Folder(str(run_dir)).child("checkpoints").names()


def logged_epochs(run_dir):
    lines = Folder(str(run_dir)).read_bytes("metrics.jsonl").decode().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


@pytest.mark.parametrize("asked_at", range(2 * (STEPS + 1)))
def test_a_run_that_is_preempted_anywhere_resumes_to_the_same_state(asked_at, tmp_path):
    asked = itertools.count()
    outcome, _ = start_fit(tmp_path, lambda: next(asked) == asked_at, training={"epochs": 3})
    assert outcome is Outcome.PREEMPTED
    outcome, trainer = start_fit(tmp_path, training={"epochs": 3})
    assert outcome is Outcome.FINISHED
    assert torch.equal(trainer.rows, unbroken_rows(3))
    last = find_checkpoint(Folder(str(tmp_path)))
    assert torch.equal(last.read_rows("rows", 0, NUM_ROWS)["x"], unbroken_rows(3))
    assert logged_epochs(tmp_path) == [1, 2, 3]


def test_a_stop_in_every_step_still_gets_there(tmp_path):
    for _ in range(2 * STEPS):
        asked = itertools.count()
        start_fit(tmp_path, lambda asked=asked: next(asked) > 0, training={"epochs": 2})
    _, trainer = start_fit(tmp_path, training={"epochs": 2})
    assert torch.equal(trainer.rows, unbroken_rows(2))


def test_a_stop_in_the_last_epoch_is_a_finished_run(tmp_path):
    outcome, _ = start_fit(tmp_path, lambda: len(saved(tmp_path)) == 1, training={"epochs": 1})
    assert outcome is Outcome.FINISHED
    asked = itertools.count()
    outcome, _ = start_fit(tmp_path / "b", lambda: next(asked) == STEPS, training={"epochs": 1})
    assert outcome is Outcome.FINISHED


def test_a_finished_run_is_not_trained_again_but_more_epochs_go_on(tmp_path):
    start_fit(tmp_path, training={"epochs": 2})
    outcome, trainer = start_fit(tmp_path, training={"epochs": 2})
    assert (outcome, trainer.trained) == (Outcome.FINISHED, 0)
    outcome, trainer = start_fit(tmp_path, training={"epochs": 3})
    assert (outcome, trainer.trained) == (Outcome.FINISHED, 1)
    assert torch.equal(trainer.rows, unbroken_rows(3))


def test_saves_when_due_and_at_the_end(tmp_path):
    start_fit(tmp_path, training={"epochs": 5}, checkpoint={"every": 2, "keep": 9})
    assert saved(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]


VALID = (0.9, 0.8, 0.85, 0.82, 0.81, 0.7)


@pytest.mark.parametrize("broken_after", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("every", [100, "auto"])
def test_patience_counts_across_a_resume_and_the_best_is_kept(every, broken_after, tmp_path):
    settings = {"training": {"epochs": 6, "patience": 3}, "checkpoint": {"every": every, "keep": 1}}
    if broken_after:
        asked = itertools.count(1)
        start_fit(tmp_path, lambda: next(asked) == broken_after * (STEPS + 1), VALID, **settings)
    outcome, trainer = start_fit(tmp_path, valid_rmse=VALID, **settings)
    assert (outcome, trainer.epochs_done) == (Outcome.EARLY_STOPPED, 5)
    assert saved(tmp_path) == ["step-00000002", "step-00000005"]
    assert find_checkpoint(Folder(str(tmp_path))).step == 2
    outcome, trainer = start_fit(tmp_path, valid_rmse=VALID, **settings)
    assert (outcome, trainer.trained) == (Outcome.EARLY_STOPPED, 0)


def test_an_error_that_judges_nothing_neither_stops_nor_picks_an_epoch(tmp_path):
    settings = {"training": {"epochs": 6, "patience": 1}, "checkpoint": {"every": 1, "keep": 9}}
    outcome, _ = start_fit(tmp_path, valid_rmse=(*VALID[:3], 0.9, 0.95, 0.99), stops_early=False, **settings)
    assert outcome is Outcome.FINISHED
    assert find_checkpoint(Folder(str(tmp_path))).step == 6


def test_what_a_search_saves_is_not_the_best_once_there_is_a_later_one(tmp_path):
    trainer = SearchingTrainer(single_collectives(), (0.1, 0.1, 0.5, 0.4, 0.45))
    settings = {"training": {"epochs": 5, "patience": 9}, "checkpoint": {"every": 1, "keep": 9}}
    start_fit(tmp_path, trainer=trainer, **settings)
    assert len(saved(tmp_path)) == 5
    assert find_checkpoint(Folder(str(tmp_path))).step == 4


def test_epochs_of_a_search_are_marked_as_no_candidates(tmp_path, capsys):
    trainer = SearchingTrainer(single_collectives(), (0.1, 0.1, 0.5, 0.4))
    start_fit(tmp_path, trainer=trainer, training={"epochs": 4}, checkpoint={"every": 3})
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record.get("searching") for record in records] == [True, True, None, None]
    lines = capsys.readouterr().out.splitlines()
    assert ["valid RMSE 0.1000 (search)  " in line for line in lines] == [True, True, False, False]


def test_the_best_epoch_is_saved_where_patience_may_come_back_to_it_and_a_search_has_none(tmp_path):
    trainer = SearchingTrainer(single_collectives(), (0.1, 0.1, 0.5, 0.6))
    settings = {"training": {"epochs": 4, "patience": 9}, "checkpoint": {"every": 100, "keep": 9}}
    start_fit(tmp_path, trainer=trainer, **settings)
    assert saved(tmp_path) == ["step-00000003", "step-00000004"]


@pytest.mark.parametrize("broken_after", [None, 2, 3])
def test_a_stop_adds_no_candidate_for_the_best(broken_after, tmp_path):
    settings = {"training": {"epochs": 6, "patience": None}, "checkpoint": {"every": 4, "keep": 1}}
    valid_rmse = (0.9, 0.5, 0.6, 0.8, 0.85, 0.86)
    if broken_after:
        asked = itertools.count(1)
        start_fit(tmp_path, lambda: next(asked) == broken_after * (STEPS + 1), valid_rmse, **settings)
    start_fit(tmp_path, valid_rmse=valid_rmse, **settings)
    assert find_checkpoint(Folder(str(tmp_path))).step == 4


def test_the_best_epoch_is_kept_by_auto_whatever_is_due(tmp_path):
    settings = {"training": {"epochs": 6, "patience": None}, "checkpoint": {"every": "auto", "keep": 1}}
    start_fit(tmp_path, valid_rmse=(0.9, 0.8, 0.85, 0.7, 0.71, 0.75), **settings)
    assert saved(tmp_path) == ["step-00000004", "step-00000006"]


def test_an_error_that_stays_the_same_is_no_reason_to_stop(tmp_path):
    settings = {"training": {"epochs": 5, "patience": 2}, "checkpoint": {"every": 1, "keep": 9}}
    outcome, _ = start_fit(tmp_path, valid_rmse=(0.5, 0.4, 0.4, 0.4, 0.4), **settings)
    assert outcome == Outcome.FINISHED
    assert find_checkpoint(Folder(str(tmp_path))).step == 5


def test_without_valid_ratings_all_epochs_are_trained(tmp_path):
    outcome, trainer = start_fit(tmp_path, training={"epochs": 4, "patience": 1})
    assert (outcome, trainer.epochs_done) == (Outcome.FINISHED, 4)


@pytest.mark.parametrize("squared", [math.nan, math.inf])
def test_errors_that_are_not_finite_end_the_run_and_save_nothing(squared, tmp_path):
    trainer = FakeTrainer(single_collectives())
    one_epoch = trainer.train_epoch

    def diverge(should_stop):
        result = one_epoch(should_stop)
        return EpochResult(ErrorSums(squared, 1.0, 4), 4, {}) if trainer.epochs_done == 2 else result

    trainer.train_epoch = diverge  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"epoch 2: the sum of squared errors is (nan|inf)"):
        start_fit(tmp_path, trainer=trainer)
    assert saved(tmp_path) == ["step-00000001"]
    assert logged_epochs(tmp_path) == [1]


class SlowStorage:
    """Checkpoints whose files are written no sooner than the next epoch lets them be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_write = threading.Event()
        write = Snapshot.write

        def slowly(snapshot, folder, *rest):
            if threading.current_thread() is not threading.main_thread():
                assert self.may_write.wait(20)
            return write(snapshot, folder, *rest)

        monkeypatch.setattr(Snapshot, "write", slowly)


class InPlaceTrainer(FakeTrainer):
    """Changes its rows in place, and then lets the storage write; `fails_in` is the epoch that diverges."""

    def __init__(self, storage=None, fails_in=None, valid_rmse=()):
        super().__init__(single_collectives(), valid_rmse)
        self._storage, self._fails_in = storage, fails_in

    def train_epoch(self, should_stop):
        rows = self.rows
        result = super().train_epoch(should_stop)
        self.rows = rows.copy_(self.rows)
        if self._storage is not None:
            self._storage.may_write.set()
        return result if self.epochs_done != self._fails_in else replace(result, train=ErrorSums(math.nan, 1.0, 4))


def test_a_checkpoint_is_written_while_the_next_epoch_runs_and_holds_the_state_before_it(tmp_path, monkeypatch):
    storage = SlowStorage(monkeypatch)
    start_fit(
        tmp_path, trainer=InPlaceTrainer(storage), training={"epochs": 3}, checkpoint={"every": 1, "keep": 9}
    )
    assert saved(tmp_path) == ["step-00000001", "step-00000002", "step-00000003"]
    for step in (1, 2, 3):
        rows = find_checkpoint(Folder(str(tmp_path)), step).read_rows("rows", 0, NUM_ROWS)["x"]
        assert torch.equal(rows, unbroken_rows(step))


def test_a_disk_that_is_full_for_the_thread_ends_the_run_with_the_reason(tmp_path, monkeypatch):
    write = Folder.write_bytes

    def full(folder, name, *rest, **named):
        if folder.url.endswith("step-00000002"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{folder.url}/{name}")
        return write(folder, name, *rest, **named)

    monkeypatch.setattr(Folder, "write_bytes", full)
    with pytest.raises(TrainingError, match=r"step 2 failed: .*step-00000002/rows.*: No space left on device"):
        start_fit(tmp_path, training={"epochs": 9})
    assert saved(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("failure", ["diverged", "bug"])
def test_a_run_that_fails_saves_the_best_state_and_what_was_being_written(failure, tmp_path, monkeypatch):
    storage = SlowStorage(monkeypatch)
    trainer = InPlaceTrainer(storage, 5, (0.9, 0.8, 0.7, 0.75, 0.8))
    if failure == "bug":
        monkeypatch.setattr(loop, "_require_finite", lambda sums, _when: 1 / (math.isfinite(sums.squared)))
    with pytest.raises((TrainingError, ZeroDivisionError)):
        # The first epoch is due and is being written; the best one waits in memory.
        start_fit(tmp_path, trainer=trainer, training={"epochs": 9}, checkpoint={"every": "auto"})
    assert saved(tmp_path) == ["step-00000001", "step-00000003"]
    best = find_checkpoint(Folder(str(tmp_path)))
    assert (best.step, best.valid_rmse) == (3, 0.7)
    assert torch.equal(best.read_rows("rows", 0, NUM_ROWS)["x"], unbroken_rows(3))


def test_a_run_that_lost_its_folder_writes_nothing_there(tmp_path, caplog):
    trainer = InPlaceTrainer(None, None, (0.9, 0.8, 0.7))
    with pytest.raises(TrainingError, match="was replaced"), caplog.at_level(logging.WARNING):
        start_fit(
            tmp_path,
            trainer=trainer,
            is_replaced=lambda: trainer.epochs_done == 3,
            training={"epochs": 9},
            checkpoint={"every": "auto"},
        )
    assert saved(tmp_path) == ["step-00000001"]
    assert "what the run had not saved is lost: the folder was replaced" in caplog.text


def _die_at_each_file_operation(_collectives, run_dir):
    """Fork a child for every fifth k and kill it at the k-th file operation of a run that saves every epoch."""
    os.fsync = lambda _descriptor: None  # type: ignore[assignment]
    settings = {"training": {"epochs": 3}, "checkpoint": {"every": 1, "keep": 1}}
    for operation in range(0, 1000, 5):
        folder = Path(run_dir) / str(operation)
        child = os.fork()
        if child == 0:
            kill_at(operation)
            start_fit(folder, **settings)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return operation
        checkpoints = Folder(str(folder)).child("checkpoints")
        for name in committed_names(checkpoints):
            Checkpoint.open(checkpoints.child(str(name)), verify=True)
        _, trainer = start_fit(folder, **settings)
        assert torch.equal(trainer.rows, unbroken_rows(3))
        assert committed_names(checkpoints)[-1].step == 3
    raise AssertionError("the child never ended on its own")


def test_a_kill_at_any_file_operation_of_a_run_loses_no_checkpoint_that_counted(tmp_path):
    (operations,) = run_ranks(_die_at_each_file_operation, 1, tmp_path / "ranks", str(tmp_path / "runs"))
    assert operations > 60
