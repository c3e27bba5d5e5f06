import errno
import json
import logging
import os
from pathlib import Path

import pytest
import torch

from recsys_dist.checkpoint import snapshot
from recsys_dist.checkpoint.checkpoint import Checkpoint, committed_names, find_checkpoint
from recsys_dist.checkpoint.manifest import committed_bytes
from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.errors import CheckpointError, TrainingError
from recsys_dist.storage.folder import Folder
from tests.support.kills import kill_at
from tests.support.ranks import run_ranks
from tests.support.states import same_tensors, single_collectives, state_of_rank, whole_tables


def open_store(run_dir, keep=2):
    return CheckpointStore(Folder(str(run_dir)), single_collectives(), keep)


def save(run_dir, step, keep=2, **details):
    return open_store(run_dir, keep).save(state_of_rank(0, 1, version=step), step, details)


def names(run_dir):
    return [str(name) for name in Folder(str(run_dir)).child("checkpoints").names()]


def damage(run_dir, name, file="checkpoint.json"):
    path = Path(run_dir) / "checkpoints" / name / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_saved_state_reads_back_bit_for_bit(where, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "FILE_BYTES", 200)  # several files a table
    run_dir = tmp_path if where == "local" else f"memory://store-{tmp_path.name}/run"
    save(run_dir, 3, config={"seed": 1}, valid_rmse=0.75)
    checkpoint = open_store(run_dir).latest()
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.config, checkpoint.valid_rmse) == (3, {"seed": 1}, 0.75)
    assert checkpoint.values == state_of_rank(0, 1, version=3).values
    assert len(checkpoint.tables["users"].files) > 2
    assert checkpoint.tables["users"].tensors["covariance"].shape == (11, 2, 3)
    for table, tensors in whole_tables(3).items():
        for start, stop in [(0, checkpoint.tables[table].num_rows), (1, 3), (2, 2)]:
            rows = checkpoint.read_rows(table, start, stop)
            assert same_tensors(rows, {name: tensor[start:stop] for name, tensor in tensors.items()})


def test_reading_asks_for_a_table_and_rows_that_are_there(tmp_path):
    save(tmp_path, 1)
    checkpoint = open_store(tmp_path).latest()
    with pytest.raises(CheckpointError, match=r"no table 'words' \(it has: items, users\)"):
        checkpoint.read_rows("words", 0, 1)
    with pytest.raises(CheckpointError, match=r"rows 0 \.\. 11 of table 'users', not 5 \.\. 12"):
        checkpoint.read_rows("users", 5, 12)


def test_saving_works_where_the_default_device_holds_nothing(tmp_path):
    with torch.device("meta"):
        save(tmp_path, 1)
        rows = open_store(tmp_path).latest().read_rows("users", 0, 11)
    assert same_tensors(rows, whole_tables(1)["users"])


def test_purge_keeps_the_newest_and_the_best(tmp_path):
    # Of two that are as good the later one, which has seen more.
    for step, rmse in enumerate([0.7, 0.7, 0.8, 0.8, 0.9], start=1):
        save(tmp_path, step, valid_rmse=rmse)
    assert names(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]


def test_saves_within_an_epoch_come_between_its_ends(tmp_path):
    store = open_store(tmp_path, keep=9)
    state = state_of_rank(0, 1)
    for step, whole in [(1, True), (1, False), (1, False), (2, True), (2, False)]:
        store.save(state, step, {}, whole_epoch=whole)
        assert str(store.latest().name) == names(tmp_path)[-1]
    assert names(tmp_path) == [
        "step-00000001",
        "step-00000001-part-0001",
        "step-00000001-part-0002",
        "step-00000002",
        "step-00000002-part-0001",
    ]
    assert str(find_checkpoint(Folder(str(tmp_path)), step=1).name) == "step-00000001"


def test_a_merge_takes_the_best_or_the_step_it_is_told(tmp_path):
    folder = Folder(str(tmp_path))
    with pytest.raises(CheckpointError, match="has no complete checkpoint"):
        find_checkpoint(folder)
    save(tmp_path, 1, keep=9)
    save(tmp_path, 2, keep=9)
    assert find_checkpoint(folder).step == 2
    save(tmp_path, 3, keep=9, valid_rmse=0.7)
    save(tmp_path, 4, keep=9, valid_rmse=0.8)
    assert (find_checkpoint(folder).step, find_checkpoint(folder, step=4).step) == (3, 4)
    with pytest.raises(CheckpointError, match="no checkpoint of step 5; available steps: 1, 2, 3, 4"):
        find_checkpoint(folder, step=5)
    damage(tmp_path, "step-00000003", "users-00000000-00000011.safetensors")
    assert find_checkpoint(folder).step == 4
    with pytest.raises(CheckpointError, match=r"step-00000003/users-.*damaged"):
        find_checkpoint(folder, step=3)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning_and_replaced(tmp_path, caplog):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path, "step-00000002")
    store = open_store(tmp_path, keep=1)
    with caplog.at_level(logging.WARNING):
        assert store.latest().step == 1
    assert "step-00000002/checkpoint.json is damaged" in caplog.text
    store.save(state_of_rank(0, 1, version=2), 2, {})
    store.save(state_of_rank(0, 1, version=3), 3, {})
    assert names(tmp_path) == ["step-00000003"]
    damage(tmp_path, "step-00000003")
    with pytest.raises(
        CheckpointError, match=r"every checkpoint of .* is damaged: .*step-00000003/checkpoint\.json"
    ):
        open_store(tmp_path).latest()


def test_storage_that_does_not_answer_is_no_damage(tmp_path, monkeypatch):
    for step in (1, 2):
        save(tmp_path, step)
    store = open_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "record", _too_many_open_files)
        with pytest.raises(CheckpointError, match=r"step-00000002.*Too many open files.*try again later"):
            store.latest()

    assert open_store(tmp_path).latest().step == 2


def _too_many_open_files(*_):
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_sound_checkpoint_is_never_written_over(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(CheckpointError, match="step-00000001 exists already"):
        save(tmp_path, 1)
    assert open_store(tmp_path).latest().step == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_never_saved(value, tmp_path):
    save(tmp_path, 1)
    rows = torch.zeros(5, 2)
    rows[3, 1] = value
    poisoned = TrainerState({"users": TableRows(0, 5, {"factors": rows})}, {})
    with pytest.raises(TrainingError, match="factors of users is not finite at row 3"):
        open_store(tmp_path).save(poisoned, 2, {})
    with pytest.raises(TrainingError, match="a value of the state is not finite"):
        open_store(tmp_path).save(TrainerState({}, {"noise": [value]}), 2, {})
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("start", [0, 1])
def test_rows_that_nobody_hands_over_are_noticed(start, tmp_path):
    rows = TrainerState({"users": TableRows(start, 5, {"factors": torch.zeros(4, 2)})}, {})
    with pytest.raises(TrainingError, match=r"users the files do not cover the rows 0 \.\. 5 exactly once"):
        open_store(tmp_path).save(rows, 1, {})
    assert names(tmp_path) == []


def test_one_flipped_bit_in_any_file_is_noticed(tmp_path):
    save(tmp_path, 1)
    folder = tmp_path / "checkpoints" / "step-00000001"
    rng = torch.Generator().manual_seed(0)
    for path in sorted(folder.iterdir()):
        sound = path.read_bytes()
        for bit in torch.randint(len(sound) * 8, (100,), generator=rng).tolist():
            data = bytearray(sound)
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bytes(data))
            with pytest.raises(CheckpointError, match=path.name):
                open_store(tmp_path).latest()
        path.write_bytes(sound)
    assert open_store(tmp_path).latest().step == 1


def edit(run_dir, change):
    """Rewrite checkpoint.json by `change`, with a COMMITTED that fits it."""
    folder = Path(run_dir) / "checkpoints" / "step-00000001"
    tree = json.loads((folder / "checkpoint.json").read_text())
    change(tree)
    data = json.dumps(tree).encode()
    (folder / "checkpoint.json").write_bytes(data)
    (folder / "COMMITTED").write_bytes(committed_bytes(data))


def _set(tree, *keys, to):
    for key in keys[:-1]:
        tree = tree[key]
    tree[keys[-1]] = to


EVIL = {
    "traversal": lambda t: _set(t, "tables", "users", "files", 0, "name", to="../../outside.safetensors"),
    "absolute": lambda t: _set(t, "tables", "users", "files", 0, "name", to="/etc/passwd"),
    "table name": lambda t: t["tables"].update({"../users": t["tables"].pop("users")}),
    "other file": lambda t: _set(t, "tables", "users", "files", 0, "name", to="COMMITTED"),
    "huge shape": lambda t: _set(t, "tables", "users", "tensors", "factors", "shape", to=[11, 2**60]),
    "negative shape": lambda t: _set(t, "tables", "users", "tensors", "factors", "shape", to=[11, -4]),
    "huge rows": lambda t: _set(t, "tables", "users", "num_rows", to=2**60),
    "overlap": lambda t: t["tables"]["users"]["files"].append(t["tables"]["users"]["files"][0]),
    "range": lambda t: _set(t, "tables", "users", "files", 0, "stop", to=2**60),
    "dtype": lambda t: _set(t, "tables", "users", "tensors", "factors", "dtype", to="object"),
    "version": lambda t: _set(t, "format_version", to=2),
    "format": lambda t: _set(t, "format", to="recsys_dist.dataset"),
    "unknown key": lambda t: _set(t, "pickle", to="cos\nsystem\n(S'id'\ntR."),
    "not finite": lambda t: _set(t, "values", "noise", to=float("nan")),
}


@pytest.mark.parametrize("change", EVIL.values(), ids=EVIL)
def test_an_evil_manifest_is_refused_before_a_file_is_opened(change, tmp_path, monkeypatch):
    save(tmp_path, 1)
    edit(tmp_path, change)
    monkeypatch.setattr(Folder, "verify", lambda _self, record: pytest.fail(f"opened {record.name}"))
    with pytest.raises(CheckpointError, match=r"step-00000001/checkpoint\.json (cannot be used|is not JSON)"):
        open_store(tmp_path).latest()


def _die_at_each_file_operation(_collectives, run_dir):
    """Fork a child for every k and kill it at the k-th file operation of a save that also purges."""
    # A killed process loses nothing that it had written; this saves half a minute.
    os.fsync = lambda _descriptor: None  # type: ignore[assignment]
    died = 0
    for operation in range(1000):
        reference = Path(run_dir) / str(operation)
        save(reference, 1, keep=1)
        child = os.fork()
        if child == 0:
            kill_at(operation)
            save(reference, 2, keep=1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        died += os.WIFSIGNALED(status)
        checkpoints = Folder(str(reference)).child("checkpoints")
        for name in committed_names(checkpoints):
            Checkpoint.open(checkpoints.child(str(name)), verify=True)
        checkpoint = open_store(reference).latest()
        assert same_tensors(checkpoint.read_rows("users", 0, 11), whole_tables(checkpoint.step)["users"])
        save(reference, 3, keep=1)
        assert names(reference) == ["step-00000003"]
        if not os.WIFSIGNALED(status):
            return died
    raise AssertionError("the child never ended on its own")


def test_a_kill_at_any_file_operation_leaves_a_checkpoint_to_resume_from(tmp_path):
    (died,) = run_ranks(_die_at_each_file_operation, 1, tmp_path / "ranks", str(tmp_path / "runs"))
    assert died > 20
